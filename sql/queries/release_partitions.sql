-- Gives partitions back and tells the other workers; the notice is sent once the locks are free.
-- $1 the lock class of partitions, $2 partitions
SELECT pg_advisory_unlock($1, partition), pg_notify('wallet_ownership', 'release')
FROM unnest($2::int[]) AS surplus (partition)
