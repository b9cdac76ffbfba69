-- Who may call. Only the SHA-256 of a key's secret is kept: a copy of this table lets nobody in.

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT api_keys_named CHECK (name <> ''),
    secret_sha256 bytea NOT NULL CONSTRAINT api_keys_digest_whole CHECK (length(secret_sha256) = 32),
    scopes text[] NOT NULL CONSTRAINT api_keys_scopes_known CHECK (
        scopes <@ ARRAY['wallets:create', 'wallets:read', 'wallets:operate', 'admin'] AND cardinality(scopes) > 0
    ),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
