-- What bounds one person: turns in triage, messages that wait for their time, names of devices, and money.
-- As in 007_bounds.cql.

ALTER TABLE triage ADD COLUMN turn BLOB;  -- whose turn it takes; NULL: an item of an older version

CREATE TABLE scheduled (        -- whose messages wait for their time
    sender BLOB NOT NULL,
    tid    BLOB NOT NULL,
    mid    BLOB NOT NULL,
    due    REAL NOT NULL,       -- what is past it does not count
    PRIMARY KEY (sender, tid, mid)
) WITHOUT ROWID;

-- What people see of a thread: a page of it is one step, however much is hidden between.
CREATE INDEX messages_shown ON messages (tid, mid)
    WHERE scheduled IS NULL AND canceled IS NULL AND recalled IS NULL;

CREATE TABLE reading_devices (  -- the names under which a person's reading is kept
    uid    BLOB NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (uid, device)
) WITHOUT ROWID;

CREATE TABLE budgets (          -- what was spent of a budget on a day
    name TEXT NOT NULL,
    day  INTEGER NOT NULL,      -- counted from 1970, UTC
    used INTEGER NOT NULL,
    PRIMARY KEY (name, day)
) WITHOUT ROWID;
