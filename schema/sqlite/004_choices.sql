-- What people chose by themselves, beside what files say of them. As in 006_choices.cql.

ALTER TABLE recipients ADD COLUMN given TEXT NOT NULL DEFAULT '';      -- JSON: item -> when; '': nothing
ALTER TABLE recipients ADD COLUMN withdrawn TEXT NOT NULL DEFAULT '';  -- the same; of equal times it wins
ALTER TABLE subscriptions ADD COLUMN without TEXT NOT NULL DEFAULT ''; -- channels that the subscriber took back

CREATE TABLE choices (          -- the log: it only grows, and is erased with its person
    uid  BLOB NOT NULL,
    at   REAL NOT NULL,
    item TEXT NOT NULL,         -- consent:… or channel:…
    act  TEXT NOT NULL,         -- given, withdrawn or asked
    how  TEXT NOT NULL,         -- one_click, page, confirmation, …
    link BLOB,                  -- the campaign whose link it was
    PRIMARY KEY (uid, at, item, act)
) WITHOUT ROWID;
