-- The gateway's own tables. No personal data. Times are seconds since the epoch.

CREATE TABLE idempotency (
    key    BLOB PRIMARY KEY,    -- keyed hash of caller, route and the caller's key
    digest BLOB NOT NULL,       -- of the request's body
    answer BLOB,                -- JSON; NULL: still under way
    until  REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE revocations (
    name   TEXT PRIMARY KEY,    -- jti:… or uid:…
    before REAL NOT NULL,       -- tokens that were issued earlier are refused
    until  REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE inbox (            -- receipts that are not merged yet
    place  INTEGER PRIMARY KEY AUTOINCREMENT,
    id     BLOB NOT NULL UNIQUE,
    record TEXT NOT NULL        -- JSON, without any address
);

CREATE TABLE device_owners (    -- whose a device is that was enlisted
    address BLOB PRIMARY KEY,   -- keyed hash of its token
    uid     BLOB NOT NULL
) WITHOUT ROWID;
