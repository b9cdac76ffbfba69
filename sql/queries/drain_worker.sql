-- Takes a worker out of service, and tells all to look at their shares.
-- $1 name
WITH drained AS (
    INSERT INTO drained_workers (name) VALUES ($1) ON CONFLICT (name) DO NOTHING
)
SELECT pg_notify('wallet_ownership', 'drain')
