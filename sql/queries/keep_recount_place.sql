-- $1 recounted_until, $2 recounted_upto
UPDATE statistics_progress SET recounted_until = $1, recounted_upto = $2
