-- $1 wallet ids
SELECT id, balance, seq, created_at, updated_at FROM wallets WHERE id = ANY ($1::uuid[])
