-- $1 wallet id
SELECT id, balance, seq FROM wallets WHERE id = $1
