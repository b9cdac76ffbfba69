-- The recorded outcomes of commands, as the replies that their waiters missed.
-- $1 operation ids
SELECT
    o.id, o.wallet_id, o.type, o.amount, o.status, o.reason, o.seq, o.balance, o.submitted_at, o.decided_at, o.token,
    w.created_at AS wallet_created_at
FROM operations AS o
JOIN wallets AS w ON w.id = o.wallet_id
WHERE o.id = ANY ($1::uuid[])
