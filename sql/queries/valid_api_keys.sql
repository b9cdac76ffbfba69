-- Every key that may still be used; expiry is for the reader to watch.
SELECT id, name, secret_sha256, scopes, expires_at
FROM api_keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
