-- The live workers: their sessions, by their locks, and what Postgres knows of them.
-- $1 the lock class of workers, $2 of partitions, $3 of releases
SELECT
    a.pid,
    a.application_name AS name,
    host(a.client_addr) AS host,
    a.backend_start AS since,
    extract(EPOCH FROM clock_timestamp() - a.state_change)::float8 AS silent_seconds,
    coalesce(array_agg(l.objid::int ORDER BY l.objid) FILTER (WHERE l.classid::bigint = $2), '{}') AS partitions,
    max(l.objid::bigint) FILTER (WHERE l.classid::bigint = $3) AS release,
    d.since AS drained_since
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
LEFT JOIN drained_workers AS d ON d.name = a.application_name
WHERE
    l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint IN ($1, $2, $3)
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY a.pid, a.application_name, a.client_addr, a.backend_start, a.state_change, d.since
ORDER BY a.application_name, a.pid
