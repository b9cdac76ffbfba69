-- Whoever starts first writes the partition count; everybody reads what stands there.
-- $1 the count this process is configured with
WITH first AS (
    INSERT INTO settings (name, value) VALUES ('partition_count', $1::int::text)
    ON CONFLICT (name) DO NOTHING
    RETURNING value
)
SELECT value::int FROM first
UNION ALL
SELECT value::int FROM settings WHERE name = 'partition_count'
LIMIT 1
