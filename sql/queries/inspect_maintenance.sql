-- The last run of each housekeeping job.
SELECT job, started_at, finished_at, seconds, result, error FROM maintenance_runs ORDER BY job
