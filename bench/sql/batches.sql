-- How many operations are recorded, and by how many transactions: each row carries its transaction's id.
SELECT count(*), count(DISTINCT xmin::text) FROM operations
