-- A page of the applied operations of a stretch of wallets, in order of wallet and seq (operations_wallet_seq).
-- $1 and $2 the wallet and seq above which the page starts, $3 the last wallet, $4 rows at most
SELECT wallet_id, seq, balance, CASE type WHEN 'DEPOSIT' THEN amount ELSE -amount END AS change
FROM operations
WHERE seq IS NOT NULL AND (wallet_id, seq) > ($1, $2) AND wallet_id <= $3
ORDER BY wallet_id, seq
LIMIT $4
