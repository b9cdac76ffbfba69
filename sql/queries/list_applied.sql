-- A page of a wallet's applied operations, newest first (operations_wallet_seq).
-- $1 wallet id, $2 seq below which the page starts, $3 rows at most
SELECT id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, decided_at, token
FROM operations
WHERE wallet_id = $1 AND seq IS NOT NULL AND seq < $2
ORDER BY seq DESC
LIMIT $3
