-- Notes the start of a job, unless another session is at it: then there is no row. The lock ends with the session.
-- $1 the lock class of jobs, $2 job
WITH taken AS MATERIALIZED (SELECT pg_try_advisory_lock($1, hashtext($2)) AS is_mine)
INSERT INTO maintenance_runs (job, started_at)
SELECT $2, clock_timestamp() FROM taken WHERE is_mine
ON CONFLICT (job) DO UPDATE SET started_at = EXCLUDED.started_at
RETURNING started_at
