-- Messages of threads, who has read how far, and what is owed. As in 004_messages.cql.

ALTER TABLE campaigns ADD COLUMN message INTEGER NOT NULL DEFAULT 0; -- 1: it delivers one message
CREATE INDEX campaigns_named ON campaigns (id) WHERE message = 0;

CREATE TABLE messages (
    tid       BLOB NOT NULL,
    mid       BLOB NOT NULL,   -- UUIDv7: sorts by time
    record    TEXT NOT NULL,   -- JSON: what does not change
    scheduled REAL,
    canceled  REAL,
    completed REAL,
    recalled  REAL,
    joined    BLOB,            -- the message that it left together with
    qid       TEXT NOT NULL DEFAULT '',  -- who has sealed it
    PRIMARY KEY (tid, mid)
) WITHOUT ROWID;

CREATE TABLE reads (
    tid    BLOB NOT NULL,
    uid    BLOB NOT NULL,
    device TEXT NOT NULL,
    mid    BLOB NOT NULL,      -- the last message read
    PRIMARY KEY (tid, uid, device)
) WITHOUT ROWID;
CREATE INDEX reads_by_uid ON reads (uid);

CREATE TABLE triage (
    urgency INTEGER NOT NULL,
    due     REAL NOT NULL,     -- not before that
    mid     BLOB NOT NULL,
    step    TEXT NOT NULL,     -- send or fallback
    tid     BLOB NOT NULL,
    kind    TEXT NOT NULL,
    since   REAL NOT NULL,
    tries   INTEGER NOT NULL,
    PRIMARY KEY (urgency, due, mid, step)
) WITHOUT ROWID;

CREATE TABLE joins (
    tid   BLOB NOT NULL,
    uid   BLOB NOT NULL,
    state TEXT NOT NULL,       -- asked or invited
    by    BLOB,
    at    REAL NOT NULL,
    PRIMARY KEY (tid, uid)
) WITHOUT ROWID;
CREATE INDEX joins_by_uid ON joins (uid);
