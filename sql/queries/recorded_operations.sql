-- Which of a batch's operation ids are recorded already.
-- $1 operation ids
SELECT id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, decided_at, token
FROM operations
WHERE id = ANY ($1::uuid[])
