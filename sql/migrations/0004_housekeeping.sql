-- What housekeeping knows, so that others can see it: its runs, what it found in the books, and the daily totals.

CREATE TABLE maintenance_runs (
    job text PRIMARY KEY,
    -- The last start. Later than finished_at: a run is under way, or was killed.
    started_at timestamptz NOT NULL,
    -- The last run that ended, well or not, and what came of it.
    finished_at timestamptz,
    seconds double precision,
    result jsonb,
    error text,
    succeeded_at timestamptz
);

-- How far the reconciliation is: one row. All wallets up to wallet_id are done; while wallet_began_at is set, that wallet
-- is a long one, verified up to seq, where its balance stood and what the operations so far add up to.
CREATE TABLE reconciliation_progress (
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT reconciliation_progress_one_row CHECK (only_row),
    wallet_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    wallet_began_at timestamptz,
    seq bigint NOT NULL DEFAULT 0,
    balance numeric NOT NULL DEFAULT 0,
    total numeric NOT NULL DEFAULT 0,
    rounds bigint NOT NULL DEFAULT 0,
    round_began_at timestamptz NOT NULL DEFAULT now(),
    last_round_began_at timestamptz,
    last_round_ended_at timestamptz
);
INSERT INTO reconciliation_progress DEFAULT VALUES;

CREATE TABLE reconciliation_findings (
    wallet_id uuid NOT NULL,
    kind text NOT NULL,
    -- What of the wallet: 'wallet', 'seq 3' or an operation id.
    subject text NOT NULL,
    expected numeric NOT NULL,
    found numeric NOT NULL,
    detail text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    -- When it was first not found any more. Never deleted.
    resolved_at timestamptz,
    PRIMARY KEY (wallet_id, kind, subject)
);
CREATE INDEX reconciliation_findings_open ON reconciliation_findings (wallet_id) WHERE resolved_at IS NULL;

CREATE TABLE daily_totals (
    day date NOT NULL, -- in UTC
    type text NOT NULL,
    status text NOT NULL,
    operations bigint NOT NULL,
    amount numeric NOT NULL, -- in minor units
    PRIMARY KEY (day, type, status)
);

-- How far the totals are: one row. Operations decided before counted_until are in daily_totals; days before
-- recounted_until were counted once more after they were over.
CREATE TABLE statistics_progress (
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT statistics_progress_one_row CHECK (only_row),
    counted_until timestamptz,
    recounted_until date
);
INSERT INTO statistics_progress DEFAULT VALUES;

-- Finds the operations of a stretch of time. Operations arrive in order of time, so a summary of each 32 pages is enough:
-- a few KB, and next to nothing for each insert, where a B-tree would cost every settle transaction.
CREATE INDEX operations_decided_at ON operations USING brin (decided_at) WITH (pages_per_range = 32);
