SELECT count(*) FROM reconciliation_findings WHERE resolved_at IS NULL
