-- Makes the empty wallets $1 … $2 that are not there; their ids follow from their numbers.
INSERT INTO wallets (id)
SELECT md5('wallet-' || number)::uuid FROM generate_series($1::bigint, $2::bigint) AS number
ON CONFLICT (id) DO NOTHING
