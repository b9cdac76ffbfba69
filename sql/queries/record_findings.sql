-- Notes findings: new ones, and that old ones are still (or again) there. Arrays, one element a row.
-- $1 wallet_id, $2 kind, $3 subject, $4 expected, $5 found, $6 detail, $7 the time of the look
INSERT INTO reconciliation_findings (
    wallet_id, kind, subject, expected, found, detail, first_seen_at, last_seen_at
)
SELECT wallet_id, kind, subject, expected, found, detail, $7, $7
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[], $5::numeric[], $6::text[])
    AS seen (wallet_id, kind, subject, expected, found, detail)
ON CONFLICT (wallet_id, kind, subject) DO UPDATE
SET
    expected = EXCLUDED.expected, found = EXCLUDED.found, detail = EXCLUDED.detail,
    last_seen_at = EXCLUDED.last_seen_at, resolved_at = NULL
