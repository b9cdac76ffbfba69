-- $1 wallet id
SELECT id, balance, seq, created_at, updated_at FROM wallets WHERE id = $1
