-- How far the totals are, and up to when they may go now: what is younger may still be on its way into the books.
-- $1 seconds
SELECT counted_until, recounted_until, recounted_upto, clock_timestamp() - make_interval(secs => $1) AS countable_until
FROM statistics_progress
