-- The sessions of housekeeping, by the names that they give themselves.
SELECT DISTINCT application_name AS name
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'maintenance-%'
