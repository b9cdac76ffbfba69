-- Who holds what, as the advisory locks say: the live workers in service, whether this session is drained, the
-- partitions that are held, those this session holds, and the time. While all live workers are drained, none counts as drained:
-- partitions that nobody owns are worse.
-- $1 the lock class of workers, $2 the lock class of partitions
WITH drained AS MATERIALIZED (
    SELECT a.pid
    FROM pg_stat_activity AS a
    JOIN drained_workers AS d ON d.name = a.application_name
    -- Almost always there is none: then nobody's session is looked at.
    WHERE EXISTS (SELECT FROM drained_workers)
), survey AS (
    SELECT
        count(*) FILTER (WHERE classid::bigint = $1) AS live,
        count(*) FILTER (WHERE classid::bigint = $1 AND pid NOT IN (SELECT pid FROM drained)) AS in_service,
        pg_backend_pid() IN (SELECT pid FROM drained) AS is_drained,
        coalesce(array_agg(objid::int) FILTER (WHERE classid::bigint = $2), '{}') AS held,
        coalesce(array_agg(objid::int) FILTER (WHERE classid::bigint = $2 AND pid = pg_backend_pid()), '{}') AS own
    FROM pg_locks
    WHERE
        locktype = 'advisory' AND granted AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT
    CASE WHEN in_service > 0 THEN in_service ELSE live END AS workers,
    is_drained AND in_service > 0 AS is_drained,
    held,
    own,
    clock_timestamp() AS now
FROM survey
