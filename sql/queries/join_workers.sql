-- Counts this session among the live workers until it ends, and tells the others to look at their shares.
-- $1 the lock class of workers
SELECT pg_advisory_lock($1, pg_backend_pid()), pg_notify('wallet_ownership', 'join')
