-- The partition count that the first start wrote, or `repartition` since.
SELECT value::int FROM settings WHERE name = 'partition_count'
