-- Who holds what, as the advisory locks say: the live workers, the partitions that are held, and those this session holds.
-- $1 the lock class of workers, $2 the lock class of partitions
SELECT
    count(*) FILTER (WHERE classid::bigint = $1) AS workers,
    coalesce(array_agg(objid::int) FILTER (WHERE classid::bigint = $2), '{}') AS held,
    coalesce(array_agg(objid::int) FILTER (WHERE classid::bigint = $2 AND pid = pg_backend_pid()), '{}') AS own
FROM pg_locks
WHERE
    locktype = 'advisory' AND granted AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
