-- $1 wallet id
INSERT INTO wallets (id) VALUES ($1)
RETURNING id, balance, seq, created_at, updated_at
