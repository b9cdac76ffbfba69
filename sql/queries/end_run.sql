-- Notes the end of a job. After a failed run the last result stays: it says what was true when it last ended well.
-- $1 job, $2 seconds, $3 result (JSON) or NULL, $4 error or NULL
UPDATE maintenance_runs
SET
    finished_at = clock_timestamp(), seconds = $2, result = coalesce($3::jsonb, result), error = $4,
    succeeded_at = CASE WHEN $4::text IS NULL THEN clock_timestamp() ELSE succeeded_at END
WHERE job = $1
