-- What was decided in a stretch of time within one day in UTC (operations_decided_at).
-- $1 from, $2 up to but not including
SELECT type, status, count(*) AS operations, sum(amount) AS amount
FROM operations
WHERE decided_at >= $1 AND decided_at < $2
GROUP BY type, status
