-- How many partitions have an owner.
-- $1 the lock class of partitions
SELECT count(DISTINCT objid)
FROM pg_locks
WHERE
    locktype = 'advisory' AND granted AND objsubid = 2 AND classid::bigint = $1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
