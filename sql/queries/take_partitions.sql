-- Takes the locks of those partitions that are still free, without waiting.
-- $1 the lock class of partitions, $2 partitions
SELECT partition FROM unnest($2::int[]) AS wanted (partition) WHERE pg_try_advisory_lock($1, partition)
