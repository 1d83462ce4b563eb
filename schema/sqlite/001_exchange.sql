-- The embedded store. The same tables as in 001_*.cql, for one machine. Times are seconds since the epoch.

CREATE TABLE recipients (       -- the only table with personal data
    uid        BLOB PRIMARY KEY,
    name       TEXT NOT NULL,
    email      TEXT NOT NULL,
    cell       TEXT NOT NULL,
    lang       TEXT NOT NULL,
    tz         TEXT NOT NULL,
    channels   TEXT,            -- the recipient's own; NULL: all, '': none
    devices    TEXT NOT NULL,   -- JSON: [[channel, token, registered, p256dh, auth], ...]
    consents   TEXT NOT NULL,   -- purposes, separated by spaces
    attributes TEXT NOT NULL,   -- JSON object
    last_seen  REAL,
    created    REAL
) WITHOUT ROWID;

CREATE TABLE suppressions (
    address BLOB PRIMARY KEY,   -- keyed hash of the address
    channel TEXT NOT NULL,
    reason  TEXT NOT NULL,
    since   REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE cohort_members (
    cohort TEXT NOT NULL,
    uid    BLOB NOT NULL,
    PRIMARY KEY (cohort, uid)
) WITHOUT ROWID;
CREATE INDEX cohort_members_by_uid ON cohort_members (uid); -- erasing a person

CREATE TABLE threads (
    tid    BLOB PRIMARY KEY,
    record TEXT NOT NULL        -- JSON
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    tid      BLOB NOT NULL,
    uid      BLOB NOT NULL,
    channels TEXT,              -- the recipient's, for this thread; NULL: all, '': none
    PRIMARY KEY (tid, uid)
) WITHOUT ROWID;
CREATE INDEX subscriptions_by_uid ON subscriptions (uid); -- erasing a person

CREATE TABLE campaigns (
    id       BLOB PRIMARY KEY,
    spec     TEXT NOT NULL,     -- JSON of CampaignSpec
    shards   INTEGER NOT NULL,
    created  REAL NOT NULL,
    control  TEXT NOT NULL,
    count    INTEGER,           -- the seal
    digest   TEXT,
    finished REAL
) WITHOUT ROWID;

CREATE TABLE audience (
    campaign BLOB NOT NULL,
    shard    INTEGER NOT NULL,
    uid      BLOB NOT NULL,
    PRIMARY KEY (campaign, shard, uid)
) WITHOUT ROWID;

CREATE TABLE leases (
    campaign   BLOB NOT NULL,
    shard      INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    until      REAL NOT NULL,   -- after this, or after a release, anybody may claim
    finished   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (campaign, shard)
) WITHOUT ROWID;

CREATE TABLE windows (
    campaign BLOB NOT NULL,
    shard    INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    intents  BLOB NOT NULL,     -- 34 bytes each: uid, delivery, channel, attempt
    PRIMARY KEY (campaign, shard, epoch, number)
) WITHOUT ROWID;                -- a window that is done is deleted

CREATE TABLE ledger (           -- one column per mark, written once
    campaign   BLOB NOT NULL,
    shard      INTEGER NOT NULL,
    uid        BLOB NOT NULL,
    delivery   BLOB NOT NULL,   -- zeros: the recipient was skipped
    channel    TEXT,
    state      INTEGER NOT NULL, -- the highest mark's place in the order of precedence
    later      REAL,
    skipped    REAL,
    unknown    REAL,
    failed     REAL,
    accepted   REAL,
    delivered  REAL,
    opened     REAL,
    clicked    REAL,
    read       REAL,
    bounced    REAL,
    complained REAL,
    reason     TEXT NOT NULL,
    code       TEXT NOT NULL,
    ref        TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    PRIMARY KEY (campaign, shard, uid, delivery)
) WITHOUT ROWID;
