-- Notes that this session took partitions, once it holds their locks; returns those that the owner before did not give
-- back, with its name. Nobody else writes these rows meanwhile: only who holds the lock does.
-- $1 partitions
WITH earlier AS (
    SELECT partition, worker FROM taken_partitions WHERE partition = ANY ($1::int[])
), marked AS (
    INSERT INTO taken_partitions (partition, worker)
    SELECT partition, current_setting('application_name') FROM unnest($1::int[]) AS taken (partition)
    ON CONFLICT (partition) DO UPDATE SET worker = EXCLUDED.worker, taken_at = now()
)
SELECT partition, worker FROM earlier
