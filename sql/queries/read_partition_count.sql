-- The partition count that the first start wrote.
SELECT value::int FROM settings WHERE name = 'partition_count'
