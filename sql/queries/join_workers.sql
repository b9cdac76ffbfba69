-- Counts this session among the live workers until it ends, tells the others to look at their shares, and tells the time.
-- $1 the lock class of workers
SELECT pg_advisory_lock($1, pg_backend_pid()), pg_notify('wallet_ownership', 'join'), clock_timestamp() AS now
