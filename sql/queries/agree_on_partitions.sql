-- Whoever starts first writes the partition count; everybody reads what stands there.
-- $1 the count this process is configured with
INSERT INTO settings (name, value) VALUES ('partition_count', $1::int::text)
ON CONFLICT (name) DO NOTHING
