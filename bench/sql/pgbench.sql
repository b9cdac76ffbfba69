-- The textbook way, as pgbench runs it: lock the row, change it, write the history, commit.
BEGIN;
SELECT balance, seq FROM wallets WHERE id = :wallet FOR UPDATE \gset
UPDATE wallets SET balance = balance + 100, seq = seq + 1, updated_at = now() WHERE id = :wallet;
INSERT INTO operations (id, wallet_id, type, amount, status, seq, balance, submitted_at, decided_at)
VALUES (uuidv7(), :wallet, 'DEPOSIT', 100, 'APPLIED', :seq + 1, :balance + 100, now(), now());
COMMIT;
