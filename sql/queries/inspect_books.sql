-- A sample of wallets beside what their latest operations add up to. Of the wallets on a sample of pages, which come in
-- the order of the file, any is as likely as the other.
-- $1 percent of the pages of wallets, $2 wallets at most, $3 latest operations of each at most
SELECT
    w.id, w.balance, w.seq,
    count(o.seq) AS operations,
    min(o.seq) AS first_seq,
    max(o.seq) AS last_seq,
    (array_agg(o.balance - o.change ORDER BY o.seq) FILTER (WHERE o.seq IS NOT NULL))[1] AS opening,
    coalesce(sum(o.change), 0)::bigint AS change
FROM (SELECT id, balance, seq FROM wallets TABLESAMPLE SYSTEM ($1) ORDER BY random() LIMIT $2) AS w
LEFT JOIN LATERAL (
    SELECT seq, balance, CASE type WHEN 'DEPOSIT' THEN amount ELSE -amount END AS change
    FROM operations
    WHERE wallet_id = w.id AND operations.seq IS NOT NULL
    ORDER BY operations.seq DESC
    LIMIT $3
) AS o ON true
GROUP BY w.id, w.balance, w.seq
