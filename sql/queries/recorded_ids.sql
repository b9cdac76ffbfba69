-- Which of some operation ids are recorded, and of which wallet.
-- $1 operation ids
SELECT id, wallet_id FROM operations WHERE id = ANY ($1::uuid[])
