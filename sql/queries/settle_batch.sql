-- Writes a batch's outcomes, all or nothing: new operations, and the wallets that they are about. Arrays, one element a
-- row. A wallet that does not stand as it was known when the outcomes were decided gets no balance, which its column
-- refuses, and the whole statement with it. Wallets come in id order, and so do their row locks.
-- $1 id, $2 wallet_id, $3 type, $4 amount, $5 reason (null: applied), $6 seq, $7 balance, $8 submitted_at
-- $9 decided_at, $10 token
-- $11 when they were claimed, all of them; $12 the time of those whose time (in $9 or $18) is null
-- $13 wallet ids, $14 their balances as known, $15 their seqs as known
-- $16 their new balances, $17 their new seqs, $18 their new times
WITH recorded AS (
    INSERT INTO operations (
        id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, decided_at, token, claimed_at
    )
    SELECT
        id, wallet_id, type, amount, CASE WHEN reason IS NULL THEN 'APPLIED' ELSE 'REJECTED' END, reason, seq, balance,
        submitted_at, coalesce(decided_at, $12::timestamptz), token, $11::timestamptz
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[],
        $9::timestamptz[], $10::bigint[]
    ) AS decided (id, wallet_id, type, amount, reason, seq, balance, submitted_at, decided_at, token)
)
UPDATE wallets AS w
SET
    balance = CASE WHEN w.balance = known.balance AND w.seq = known.seq THEN known.new_balance END,
    seq = known.new_seq,
    updated_at = coalesce(known.new_updated_at, $12::timestamptz)
FROM unnest($13::uuid[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::timestamptz[])
    AS known (id, balance, seq, new_balance, new_seq, new_updated_at)
WHERE w.id = known.id
