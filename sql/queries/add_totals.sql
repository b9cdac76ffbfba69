-- Adds to a day's totals. Arrays, one element a row.
-- $1 day, $2 type, $3 status, $4 operations, $5 amount
INSERT INTO daily_totals AS t (day, type, status, operations, amount)
SELECT $1, type, status, operations, amount
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::numeric[]) AS more (type, status, operations, amount)
ON CONFLICT (day, type, status) DO UPDATE
SET operations = t.operations + EXCLUDED.operations, amount = t.amount + EXCLUDED.amount
