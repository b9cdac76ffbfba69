-- A rejected operation that would explain a difference, among the newest of a wallet (operations_wallet_rejected).
-- $1 wallet id, $2 type, $3 amount, $4 rows to look at, at most
SELECT id
FROM (
    SELECT id, type, amount
    FROM operations
    WHERE wallet_id = $1 AND seq IS NULL
    ORDER BY decided_at DESC, id DESC
    LIMIT $4
) AS newest
WHERE type = $2 AND amount = $3::numeric
LIMIT 1
