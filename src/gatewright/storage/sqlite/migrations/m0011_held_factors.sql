-- Factors that do not count for sensitive operations yet: added in a session that had shown none.
CREATE TABLE held_factors (
    account_id TEXT PRIMARY KEY,
    until      REAL NOT NULL
) STRICT, WITHOUT ROWID;
