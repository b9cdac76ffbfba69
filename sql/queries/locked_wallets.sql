-- Which of some wallets' rows somebody else has locked at this moment. The other rows are locked for as long as this takes.
-- $1 wallet ids
WITH free AS (
    SELECT id FROM wallets WHERE id = ANY ($1::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
)
SELECT id FROM wallets WHERE id = ANY ($1::uuid[]) AND id NOT IN (SELECT id FROM free)
