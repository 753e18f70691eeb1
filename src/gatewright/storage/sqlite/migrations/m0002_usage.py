"""What manufacturers used, by window and by day, and what they asked for in vain."""

SQL = """
CREATE TABLE usage (
    manufacturer_id TEXT NOT NULL,
    resource        TEXT NOT NULL,
    bucket          INTEGER NOT NULL,
    used            INTEGER NOT NULL,
    kept            INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (manufacturer_id, resource, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_days (
    manufacturer_id TEXT NOT NULL,
    resource        TEXT NOT NULL,
    day             INTEGER NOT NULL,
    used            INTEGER NOT NULL,
    PRIMARY KEY (manufacturer_id, resource, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE overage_attempts (
    id              INTEGER PRIMARY KEY,
    manufacturer_id TEXT NOT NULL,
    resource        TEXT NOT NULL,
    amount          INTEGER NOT NULL,
    used            INTEGER NOT NULL,
    quota           INTEGER NOT NULL,
    at              REAL NOT NULL
) STRICT;
CREATE INDEX overage_attempts_of ON overage_attempts (manufacturer_id, at);
"""
