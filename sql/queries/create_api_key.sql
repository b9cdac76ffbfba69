-- $1 id, $2 name, $3 SHA-256 of the secret, $4 scopes, $5 when it expires, or NULL
INSERT INTO api_keys (id, name, secret_sha256, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)
