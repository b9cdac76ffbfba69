-- How many partitions have an owner, and how many there are.
-- $1 the lock class of partitions
SELECT
    count(DISTINCT objid) AS owned,
    (SELECT value::int FROM settings WHERE name = 'partition_count') AS partitions
FROM pg_locks
WHERE
    locktype = 'advisory' AND granted AND objsubid = 2 AND classid::bigint = $1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
