-- Throttles that several processes count together where they share only the store.
CREATE TABLE throttles (
    key TEXT PRIMARY KEY,
    tat REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX throttles_by_age ON throttles (tat);
