-- A day that is over is counted once more a piece at a time: how far that is within it, and what it comes to so far.

ALTER TABLE statistics_progress ADD COLUMN recounted_upto timestamptz; -- NULL: nothing of the day recounted_until yet

CREATE TABLE statistics_recount (
    type text NOT NULL,
    status text NOT NULL,
    operations bigint NOT NULL,
    amount numeric NOT NULL, -- in minor units
    PRIMARY KEY (type, status)
);

COMMENT ON INDEX statistics_recount_pkey IS 'add_recount: one row for each type and outcome; take_recount empties it';
COMMENT ON INDEX daily_totals_pkey IS 'add_totals, forget_totals, take_recount, todays_totals';
COMMENT ON INDEX statistics_progress_pkey IS 'one row: keep_statistics_place, keep_recount_place';
