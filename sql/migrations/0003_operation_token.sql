-- Tells the request that made an operation from a later one under the same id, which is answered as its replay. Times
-- cannot: two gateways may take two requests in the same microsecond. 0: recorded before there were tokens.
ALTER TABLE operations ADD COLUMN token bigint NOT NULL DEFAULT 0;
