-- When a worker read the command from its stream: what came before was waiting, what came after was work. Null: recorded
-- before this was kept.
ALTER TABLE operations ADD COLUMN claimed_at timestamptz;
COMMENT ON INDEX wallets_pkey IS 'read_wallets, lock_wallets, settle_batch; reconcile_wallets walks along it';
