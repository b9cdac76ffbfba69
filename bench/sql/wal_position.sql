-- Bytes of write-ahead log that this server has ever written.
SELECT pg_current_wal_lsn() - '0/0'::pg_lsn
