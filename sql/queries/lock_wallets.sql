-- Takes every row lock of a batch, in one statement and in id order.
-- $1 wallet ids
SELECT id, balance, seq, created_at, updated_at FROM wallets WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE
