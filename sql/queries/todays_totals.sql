-- What was decided today (in UTC), as far as it is counted.
SELECT type, status, operations FROM daily_totals WHERE day = (now() AT TIME ZONE 'UTC')::date ORDER BY type, status
