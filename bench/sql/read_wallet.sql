-- $1 wallet id
SELECT balance, created_at, updated_at FROM wallets WHERE id = $1
