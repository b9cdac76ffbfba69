-- $1 day
DELETE FROM daily_totals WHERE day = $1
