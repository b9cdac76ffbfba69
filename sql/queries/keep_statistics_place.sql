-- $1 counted_until, $2 recounted_until
UPDATE statistics_progress SET counted_until = $1, recounted_until = $2
