-- The last run of each housekeeping job, and for how long none has ended well; the first one is given its time.
SELECT
    job, started_at, finished_at, seconds, result, error, succeeded_at,
    extract(EPOCH FROM clock_timestamp() - coalesce(succeeded_at, started_at))::float8 AS unwell_seconds
FROM maintenance_runs
ORDER BY job
