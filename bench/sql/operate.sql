-- The direct baseline's whole operation: one statement, one transaction, one round trip.
-- The row lock of the UPDATE puts the operations of a wallet in order; the balance is checked under that lock.
-- No row: there is no such wallet. `applied` false: the balance does not cover it, and nothing was written.
-- $1 operation id, $2 wallet id, $3 type, $4 amount, $5 amount with its sign, $6 submitted_at, $7 token
WITH changed AS (
    UPDATE wallets
    SET balance = balance + $5, seq = seq + 1, updated_at = now()
    WHERE id = $2 AND balance + $5 >= 0
    RETURNING id, balance, seq, created_at, updated_at
), recorded AS (
    INSERT INTO operations (id, wallet_id, type, amount, status, seq, balance, submitted_at, decided_at, token)
    SELECT $1, id, $3, $4, 'APPLIED', seq, balance, $6, updated_at, $7 FROM changed
)
SELECT true AS applied, balance, seq, created_at, updated_at FROM changed
UNION ALL
SELECT false, balance, seq, created_at, updated_at FROM wallets WHERE id = $2 AND NOT EXISTS (SELECT FROM changed)
