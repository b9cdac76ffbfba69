-- Marks what was open for a stretch of wallets and has not been seen by the look that has now been through them.
-- $1 and $2 the first and the last wallet of the stretch, $3 when it began, $4 when it ended
UPDATE reconciliation_findings
SET resolved_at = $4
WHERE resolved_at IS NULL AND wallet_id >= $1 AND wallet_id <= $2 AND last_seen_at < $3
RETURNING wallet_id, kind, subject
