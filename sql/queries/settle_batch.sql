-- Writes a batch's outcomes: new operations and the wallets they changed. Arrays, one element a row.
-- $1 id, $2 wallet_id, $3 type, $4 amount, $5 status, $6 reason, $7 seq, $8 balance, $9 submitted_at, $10 decided_at
-- $11 token
-- $12 wallet ids, $13 their balances, $14 their seqs, $15 their times
WITH recorded AS (
    INSERT INTO operations (id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, decided_at, token)
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
        $9::timestamptz[], $10::timestamptz[], $11::bigint[]
    )
)
UPDATE wallets AS w
SET balance = changed.balance, seq = changed.seq, updated_at = changed.updated_at
FROM unnest($12::uuid[], $13::bigint[], $14::bigint[], $15::timestamptz[]) AS changed (id, balance, seq, updated_at)
WHERE w.id = changed.id
