-- Takes every row lock of a batch, in one statement and in id order, and tells Postgres' time.
-- $1 wallet ids
SELECT id, balance, seq, created_at, updated_at, clock_timestamp() AS now
FROM wallets
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR UPDATE
