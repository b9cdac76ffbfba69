-- Which of a batch's operation ids are recorded already, and Postgres' clock: always one row, ids null when none is.
-- $1 operation ids
SELECT
    clock_timestamp() AS now,
    o.id, o.wallet_id, o.type, o.amount, o.status, o.reason, o.seq, o.balance, o.submitted_at, o.decided_at, o.token
FROM (SELECT) AS always
LEFT JOIN operations AS o ON o.id = ANY ($1::uuid[])
