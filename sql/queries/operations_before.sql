-- $1 a time
SELECT EXISTS (SELECT FROM operations WHERE decided_at < $1)
