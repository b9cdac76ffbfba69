-- A page of a wallet's rejected operations, newest first (operations_wallet_rejected).
-- $1 wallet id, $2 and $3 the time and id below which the page starts, $4 rows at most
SELECT id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, decided_at, token
FROM operations
WHERE wallet_id = $1 AND seq IS NULL AND (decided_at, id) < ($2, $3)
ORDER BY decided_at DESC, id DESC
LIMIT $4
