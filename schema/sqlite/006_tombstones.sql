-- Who was erased, so that nothing brings them back. As in 008_tombstones.cql.

CREATE TABLE tombstones (
    mark BLOB PRIMARY KEY,      -- keyed hash of the uid
    at   REAL NOT NULL
) WITHOUT ROWID;
