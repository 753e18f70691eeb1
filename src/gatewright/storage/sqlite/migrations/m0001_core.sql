-- Tenants, accounts, and the change log that notifies other processes.
CREATE TABLE manufacturers (
    manufacturer_id TEXT PRIMARY KEY,
    company_name    TEXT NOT NULL,
    tier            TEXT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'active',
    billing_day     INTEGER NOT NULL DEFAULT 1,
    profile         TEXT,
    created_at      REAL NOT NULL,
    updated_at      REAL NOT NULL
) STRICT;

CREATE TABLE accounts (
    account_id      TEXT PRIMARY KEY,
    manufacturer_id TEXT NOT NULL REFERENCES manufacturers (manufacturer_id) ON DELETE CASCADE,
    email           TEXT NOT NULL,
    email_key       TEXT NOT NULL UNIQUE,
    password_hash   TEXT,
    role            TEXT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'active',
    created_at      REAL NOT NULL,
    updated_at      REAL NOT NULL,
    last_login_at   REAL
) STRICT;
CREATE INDEX accounts_of_manufacturer ON accounts (manufacturer_id, created_at);

CREATE TABLE changes (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    topic  TEXT NOT NULL,
    key    TEXT NOT NULL,
    at     REAL NOT NULL
) STRICT;
