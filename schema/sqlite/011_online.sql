-- For how long people have been online, all in all. As in 013_online.cql.

CREATE TABLE online (
    uid    BLOB PRIMARY KEY,
    total  INTEGER NOT NULL,    -- milliseconds
    lately TEXT NOT NULL        -- JSON: before what time nothing counts any more, then begin and end of each
                                -- span that was counted lately; milliseconds since the epoch
) WITHOUT ROWID;
