-- How many pages the wallets take.
SELECT pg_relation_size('wallets') / current_setting('block_size')::int
