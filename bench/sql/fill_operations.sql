-- Gives wallets 1 … $1 the history of $2 deposits of 100 each, in the order in which life would write it: every wallet
-- once, then every wallet again. Run with session_replication_role = replica: the wallets are known to be there.
WITH recorded AS (
    INSERT INTO operations (id, wallet_id, type, amount, status, seq, balance, submitted_at, decided_at)
    SELECT uuidv7(), md5('wallet-' || number)::uuid, 'DEPOSIT', 100, 'APPLIED', seq, seq * 100, now(), now()
    FROM generate_series(1, $2::bigint) AS seq, generate_series(1, $1::bigint) AS number
)
UPDATE wallets SET balance = $2::bigint * 100, seq = $2::bigint
