-- Which revocations are new: so that gateways need not hear of each. As in 012_revoked_lately.cql.

ALTER TABLE revocations ADD COLUMN at REAL NOT NULL DEFAULT 0; -- when it was said last
CREATE INDEX revocations_at ON revocations (at);
