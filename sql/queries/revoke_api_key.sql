-- $1 id; returns the key's name, nothing when there is no such key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING name
