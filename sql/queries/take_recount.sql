-- Makes what was counted once more the totals of its day, of which there are none beside it.
-- $1 day
WITH counted AS (
    DELETE FROM statistics_recount RETURNING type, status, operations, amount
)
INSERT INTO daily_totals (day, type, status, operations, amount)
SELECT $1, type, status, operations, amount FROM counted
