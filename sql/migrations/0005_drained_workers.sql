-- Workers that an operator takes out of service: one that is named here owns nothing while another lives that is not.
-- A name outlives its worker: restarted under it, the worker is still drained.
CREATE TABLE drained_workers (
    name text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);
