-- Changes the partition count, unless somebody else has.
-- $1 the new count, $2 the one that it was
UPDATE settings SET value = $1::int::text WHERE name = 'partition_count' AND value = $2::int::text
