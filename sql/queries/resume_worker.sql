-- Puts a worker back into service, and tells all to look at their shares; returns its name, nothing if it was not out.
-- $1 name
WITH resumed AS (
    DELETE FROM drained_workers WHERE name = $1 RETURNING name
)
SELECT name, pg_notify('wallet_ownership', 'resume') FROM resumed
