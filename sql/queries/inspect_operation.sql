-- One operation, and when it was committed where Postgres keeps that (track_commit_timestamp).
-- $1 operation id
SELECT
    id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, claimed_at, decided_at,
    token,
    CASE WHEN current_setting('track_commit_timestamp') = 'on' THEN pg_xact_commit_timestamp(xmin) END AS committed_at
FROM operations
WHERE id = $1
