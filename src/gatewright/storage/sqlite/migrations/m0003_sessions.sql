-- Sessions, refresh-token families, signing keys and revocations.
CREATE TABLE sessions (
    session_id          TEXT PRIMARY KEY,
    manufacturer_id     TEXT NOT NULL,
    account_id          TEXT,
    company_name        TEXT,
    email               TEXT,
    tier                TEXT,
    roles               TEXT NOT NULL,
    created_at          REAL NOT NULL,
    expires_at          REAL NOT NULL,
    absolute_expires_at REAL NOT NULL,
    idle_seconds        REAL,
    last_activity       REAL NOT NULL,
    activity_count      INTEGER NOT NULL,
    ip_address          TEXT,
    user_agent          TEXT,
    network             TEXT,
    agent_family        TEXT,
    agent_platform      TEXT,
    device_id           TEXT,
    factors             TEXT NOT NULL,
    mfa_at              REAL,
    cookie_hash         BLOB,
    ended_at            REAL,
    ended_reason        TEXT
) STRICT;
CREATE INDEX sessions_of_manufacturer ON sessions (manufacturer_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_of_account ON sessions (account_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE refresh_families (
    family_id  TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
) STRICT;
CREATE INDEX refresh_families_of_session ON refresh_families (session_id);

CREATE TABLE refresh_tokens (
    token_hash BLOB PRIMARY KEY,
    family_id  TEXT NOT NULL REFERENCES refresh_families (family_id) ON DELETE CASCADE,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    used_at    REAL,
    client_key BLOB,
    sealed     BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_of_family ON refresh_tokens (family_id);

CREATE TABLE signing_keys (
    kid          TEXT PRIMARY KEY,
    algorithm    TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    created_at   REAL NOT NULL,
    retired_at   REAL,
    expires_at   REAL,
    latest_token REAL
) STRICT;
CREATE UNIQUE INDEX one_key_signs ON signing_keys (retired_at IS NULL) WHERE retired_at IS NULL;

CREATE TABLE revocations (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    before_ms  INTEGER NOT NULL,
    expires_at REAL NOT NULL
) STRICT;
CREATE INDEX revocations_by_subject ON revocations (subject, kind);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);
