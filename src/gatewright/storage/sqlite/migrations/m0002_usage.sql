-- Usage by manufacturer in buckets of at most one UTC day, and refused attempts.
CREATE TABLE usage (
    manufacturer_id TEXT NOT NULL,
    resource        TEXT NOT NULL,
    bucket          INTEGER NOT NULL,
    used            INTEGER NOT NULL,
    kept            INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (manufacturer_id, resource, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE overage_attempts (
    id                INTEGER PRIMARY KEY,
    manufacturer_id   TEXT NOT NULL,
    resource          TEXT NOT NULL,
    amount            INTEGER NOT NULL,
    used              INTEGER NOT NULL,
    quota             INTEGER NOT NULL,
    operation_context TEXT NOT NULL,
    at                REAL NOT NULL
) STRICT;
CREATE INDEX overage_attempts_of ON overage_attempts (manufacturer_id, at);
