-- Writes a batch's outcomes, all or nothing: new operations, and the wallets that they are about. Arrays, one element a
-- row. A wallet that does not stand as it was known when the outcomes were decided gets no balance, which its column
-- refuses, and the whole statement with it. Wallets come in id order, and so do their row locks.
-- $1 id, $2 wallet_id, $3 type, $4 amount, $5 status, $6 reason, $7 seq, $8 balance, $9 submitted_at, $10 decided_at
-- $11 token
-- $12 when they were claimed, all of them
-- $13 wallet ids, $14 their balances as known, $15 their seqs as known
-- $16 their new balances, $17 their new seqs, $18 their new times
WITH recorded AS (
    INSERT INTO operations (
        id, wallet_id, type, amount, status, reason, seq, balance, submitted_at, decided_at, token, claimed_at
    )
    SELECT *, $12::timestamptz FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
        $9::timestamptz[], $10::timestamptz[], $11::bigint[]
    )
)
UPDATE wallets AS w
SET
    balance = CASE WHEN w.balance = known.balance AND w.seq = known.seq THEN known.new_balance END,
    seq = known.new_seq,
    updated_at = known.new_updated_at
FROM unnest($13::uuid[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::timestamptz[])
    AS known (id, balance, seq, new_balance, new_seq, new_updated_at)
WHERE w.id = known.id
