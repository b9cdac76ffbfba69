SELECT wallet_id, wallet_began_at, seq, balance, total, rounds, round_began_at, clock_timestamp() AS now
FROM reconciliation_progress
