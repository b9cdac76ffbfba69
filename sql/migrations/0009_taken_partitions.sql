-- Partitions that a worker took and did not give back. It owns nothing by this, the advisory lock does: a row that is
-- there when the next one takes the partition says that its last owner went without a word.
CREATE TABLE taken_partitions (
    partition int PRIMARY KEY,
    worker text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON INDEX taken_partitions_pkey IS 'mark_taken, unmark_taken';
COMMENT ON INDEX operations_pkey IS
    'the idempotency store: settle_batch, recorded_operations, recorded_ids, find_operations, inspect_operation';
