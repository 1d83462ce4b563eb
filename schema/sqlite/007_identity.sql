-- What makes this store the one that it is: facts about the whole of it, by name. As in 009_identity.cql.

CREATE TABLE IF NOT EXISTS identity (
    name  TEXT PRIMARY KEY,     -- key: fingerprint of the exchange's key; generation: counts on while it is
    value BLOB NOT NULL         -- written, so that an older copy is noticed; backup: when one was made last
) WITHOUT ROWID;
