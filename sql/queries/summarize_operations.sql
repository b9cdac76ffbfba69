-- Brings the summary of times up to date; vacuum does it otherwise, now and then.
SELECT brin_summarize_new_values('operations_decided_at')
