-- Whether this database has the tables of housekeeping: a release may be older than they are.
SELECT
    to_regclass('maintenance_runs') IS NOT NULL AS runs,
    to_regclass('reconciliation_findings') IS NOT NULL AS findings
