-- About how many wallets there are, as the planner believes; -1 before the first look.
SELECT reltuples::float8 FROM pg_class WHERE oid = 'wallets'::regclass
