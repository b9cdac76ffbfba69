-- Each index says which queries it serves, where `\di+` shows it.

COMMENT ON INDEX wallets_pkey IS 'lock_wallets, read_wallet, settle_batch; reconcile_wallets walks along it';
COMMENT ON INDEX operations_pkey IS
    'the idempotency store: settle_batch, recorded_operations, find_operations, inspect_operation';
COMMENT ON INDEX operations_wallet_seq IS
    'list_applied, inspect_books; reconcile_operations walks along it; settle_batch cannot give a seq twice';
COMMENT ON INDEX operations_wallet_rejected IS 'list_rejected, reconcile_rejected';
COMMENT ON INDEX operations_decided_at IS 'a stretch of time: count_operations, operations_before, inspect_batches';

COMMENT ON INDEX reconciliation_findings_pkey IS 'record_findings: one that is seen again is the same finding';
COMMENT ON INDEX reconciliation_findings_open IS
    'resolve_findings, of a stretch of wallets; open_findings and inspect_findings count what is in it';
COMMENT ON INDEX daily_totals_pkey IS 'add_totals, forget_totals, todays_totals';

-- The keys of small tables: they keep a name from being there twice.
COMMENT ON INDEX api_keys_pkey IS 'revoke_api_key';
COMMENT ON INDEX settings_pkey IS 'agree_on_partitions';
COMMENT ON INDEX maintenance_runs_pkey IS 'begin_run, end_run';
COMMENT ON INDEX drained_workers_pkey IS 'drain_worker, resume_worker';
COMMENT ON INDEX reconciliation_progress_pkey IS 'one row: keep_reconcile_place';
COMMENT ON INDEX statistics_progress_pkey IS 'one row: keep_statistics_place';
COMMENT ON INDEX migrations_pkey IS 'record_migration';
