-- $1 wallet id, $2 when a long wallet was begun, or NULL, $3 seq, $4 balance, $5 total
UPDATE reconciliation_progress SET wallet_id = $1, wallet_began_at = $2, seq = $3, balance = $4, total = $5
