-- How many errors in the books the reconciliation has found, and finds still.
SELECT count(*) FROM reconciliation_findings WHERE resolved_at IS NULL
