-- How the last run of each job that ended well, and its last run, went; 0: it has not ended well, or not ended, yet.
-- The result is that of the last one that ended well.
SELECT
    job,
    coalesce(extract(EPOCH FROM succeeded_at), 0)::float8 AS succeeded_at,
    coalesce(seconds, 0)::float8 AS seconds,
    error IS NOT NULL AS failed,
    result
FROM maintenance_runs
ORDER BY job
