-- STOP and START by their times, and which receipts were merged. As in 010_wishes.cql.

ALTER TABLE suppressions ADD COLUMN stopped REAL;  -- when the person at this address said STOP last
ALTER TABLE suppressions ADD COLUMN started REAL;  -- when they said START last; the newer one counts
UPDATE suppressions SET stopped = since, reason = '' WHERE reason = 'stopped';

CREATE TABLE receipts_seen (    -- receipts that were merged: a repetition, however late, is none
    id    BLOB PRIMARY KEY,
    until REAL NOT NULL
) WITHOUT ROWID;
