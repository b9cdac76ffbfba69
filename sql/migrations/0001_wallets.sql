-- The books. Money is an integer of minor units (cents).

CREATE TABLE settings (
    name text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE wallets (
    id uuid PRIMARY KEY,
    balance bigint NOT NULL DEFAULT 0
        CONSTRAINT wallets_balance_not_negative CHECK (balance >= 0)
        CONSTRAINT wallets_balance_within_limit CHECK (balance <= 999999999999999999),
    -- The number of applied operations, and so the seq of the last one.
    seq bigint NOT NULL DEFAULT 0 CONSTRAINT wallets_seq_not_negative CHECK (seq >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (
    -- Half of each page is left for the next version of its rows: an update of the balance stays on its page (HOT) and
    -- touches no index.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE TABLE operations (
    -- UUIDv7 from the gateway, or UUIDv5 of (wallet, caller, Idempotency-Key): this key is the idempotency store.
    id uuid PRIMARY KEY,
    wallet_id uuid NOT NULL CONSTRAINT operations_wallet_exists REFERENCES wallets (id),
    -- Numbers the applied operations of a wallet from 1 without a gap.
    seq bigint,
    amount bigint NOT NULL CONSTRAINT operations_amount_positive CHECK (amount > 0),
    -- The wallet's balance right after this operation.
    balance bigint NOT NULL CONSTRAINT operations_balance_not_negative CHECK (balance >= 0),
    submitted_at timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    type text NOT NULL CONSTRAINT operations_type_known CHECK (type IN ('DEPOSIT', 'WITHDRAW')),
    status text NOT NULL CONSTRAINT operations_status_known CHECK (status IN ('APPLIED', 'REJECTED')),
    reason text,
    CONSTRAINT operations_applied_has_seq CHECK ((status = 'APPLIED') = (seq IS NOT NULL)),
    CONSTRAINT operations_rejected_has_reason CHECK ((status = 'REJECTED') = (reason IS NOT NULL))
);

-- Serves the history, newest first, and makes a gap or a double in a wallet's books impossible to miss.
CREATE UNIQUE INDEX operations_wallet_seq ON operations (wallet_id, seq) WHERE seq IS NOT NULL;

-- Serves the history of rejections.
CREATE INDEX operations_wallet_rejected ON operations (wallet_id, decided_at, id) WHERE seq IS NULL;
