-- Factors suspended for sensitive operations because they were added in a session without a second factor.
CREATE TABLE held_factors (
    account_id TEXT PRIMARY KEY,
    until      REAL NOT NULL
) STRICT, WITHOUT ROWID;
