-- A day that is over is counted once more a piece at a time: how far that is within it, and what it comes to so far.

ALTER TABLE statistics_progress ADD COLUMN recounted_upto timestamptz; -- NULL: nothing of the day recounted_until yet

CREATE TABLE statistics_recount (
    type text NOT NULL,
    status text NOT NULL,
    operations bigint NOT NULL,
    amount numeric NOT NULL, -- in minor units
    PRIMARY KEY (type, status)
);
