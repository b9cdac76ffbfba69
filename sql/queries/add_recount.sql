-- Adds to what the day that is counted once more comes to so far. Arrays, one element a row.
-- $1 type, $2 status, $3 operations, $4 amount
INSERT INTO statistics_recount AS t (type, status, operations, amount)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::numeric[])
ON CONFLICT (type, status) DO UPDATE
SET operations = t.operations + EXCLUDED.operations, amount = t.amount + EXCLUDED.amount
