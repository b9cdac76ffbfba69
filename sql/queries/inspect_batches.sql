-- The latest batches: all operations of one batch are decided at the same moment (operations_decided_at finds them).
-- $1 seconds to look back, $2 operations at most
SELECT
    decided_at,
    extract(EPOCH FROM now() - decided_at)::float8 AS age_seconds,
    count(*) AS operations,
    count(*) FILTER (WHERE status = 'REJECTED') AS rejections,
    (array_agg(wallet_id))[1] AS wallet_id
FROM (
    SELECT decided_at, status, wallet_id
    FROM operations
    WHERE decided_at > now() - make_interval(secs => $1)
    ORDER BY decided_at DESC
    LIMIT $2
) AS latest
GROUP BY decided_at
