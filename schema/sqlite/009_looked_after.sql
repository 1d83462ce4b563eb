-- Who looks after campaigns finds the new ones without reading the old; the operator's newest wish has a time.

ALTER TABLE campaigns ADD COLUMN told REAL; -- when `control` was set last; null: it never was
CREATE INDEX campaigns_created ON campaigns (created) WHERE message = 0;
