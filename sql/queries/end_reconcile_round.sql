-- The last wallet is done: the next round begins at the first.
UPDATE reconciliation_progress
SET
    wallet_id = '00000000-0000-0000-0000-000000000000', wallet_began_at = NULL, seq = 0, balance = 0, total = 0,
    rounds = rounds + 1, last_round_began_at = round_began_at, last_round_ended_at = clock_timestamp(),
    round_began_at = clock_timestamp()
