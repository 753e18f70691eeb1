-- Throttles shared by processes that have no common cache.
CREATE TABLE throttles (
    key TEXT PRIMARY KEY,
    tat REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX throttles_by_age ON throttles (tat);
