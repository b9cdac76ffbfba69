-- $1 the lock class of workers
SELECT pg_advisory_unlock($1, pg_backend_pid())
