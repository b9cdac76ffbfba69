-- A page of wallets, in id order.
-- $1 and $2 the ids above which the page starts and up to which it goes, $3 wallets at most
SELECT id, balance, seq FROM wallets WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3
