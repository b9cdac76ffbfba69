-- Notes that partitions are given back, before their locks are free.
-- $1 partitions
DELETE FROM taken_partitions WHERE partition = ANY ($1::int[])
