-- Statements that this database has run, BEGIN and COMMIT among them; the bench's own name themselves.
SELECT sum(calls)
FROM pg_stat_statements AS s
JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = current_database() AND s.query NOT LIKE '-- %'
