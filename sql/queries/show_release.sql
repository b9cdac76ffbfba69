-- Shows a worker's release to whoever looks, until its session ends.
-- $1 the lock class of releases, $2 the release as a number
SELECT pg_advisory_lock_shared($1, $2)
