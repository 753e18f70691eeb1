-- Sign-in: one-time secrets, attempts, second factors, devices, passkeys and API keys.
-- 
-- Rows refer to accounts by id without a foreign key, since a manager created on its own accepts accounts that are
-- not in the store.
CREATE TABLE one_time_secrets (
    key        TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    subject    TEXT NOT NULL,
    data       TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (purpose, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX one_time_of_subject ON one_time_secrets (purpose, subject);
CREATE INDEX one_time_by_expiry ON one_time_secrets (expires_at);

CREATE TABLE doors (
    door         TEXT PRIMARY KEY,
    failures     INTEGER NOT NULL,
    pending      INTEGER NOT NULL,
    refused      INTEGER NOT NULL,
    last_at      REAL NOT NULL,
    pending_at   REAL NOT NULL,
    locked_until REAL NOT NULL,
    locks        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX doors_by_age ON doors (last_at);

CREATE TABLE sightings (
    topic  TEXT NOT NULL,
    member TEXT NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (topic, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX sightings_by_age ON sightings (at);

CREATE TABLE totp (
    enrolment_id TEXT PRIMARY KEY,
    account_id   TEXT NOT NULL,
    secret       TEXT NOT NULL,
    active       INTEGER NOT NULL,
    last_step    INTEGER NOT NULL,
    created_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX totp_of_account ON totp (account_id, active);

CREATE TABLE backup_codes (
    account_id   TEXT NOT NULL,
    code_hash    TEXT NOT NULL,
    enrolment_id TEXT NOT NULL,
    used_at      REAL,
    PRIMARY KEY (account_id, code_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE recovering_accounts (
    account_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE passkeys (
    credential_id TEXT PRIMARY KEY,
    account_id    TEXT NOT NULL,
    public_key    BLOB NOT NULL,
    sign_count    INTEGER NOT NULL,
    name          TEXT NOT NULL,
    device_type   TEXT NOT NULL,
    backed_up     INTEGER NOT NULL,
    created_at    REAL NOT NULL,
    last_used_at  REAL
) STRICT, WITHOUT ROWID;
CREATE INDEX passkeys_of_account ON passkeys (account_id);

CREATE TABLE trusted_devices (
    device_id    TEXT PRIMARY KEY,
    account_id   TEXT NOT NULL,
    name         TEXT NOT NULL,
    binding      TEXT NOT NULL,
    ip_address   TEXT,
    created_at   REAL NOT NULL,
    last_used_at REAL,
    expires_at   REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX trusted_devices_of_account ON trusted_devices (account_id);

CREATE TABLE api_keys (
    key_id          TEXT PRIMARY KEY,
    manufacturer_id TEXT NOT NULL,
    account_id      TEXT,
    name            TEXT NOT NULL,
    secret_hash     TEXT NOT NULL,
    permissions     TEXT NOT NULL,
    created_at      REAL NOT NULL,
    expires_at      REAL,
    last_used_at    REAL,
    revoked_at      REAL,
    replaces        TEXT UNIQUE
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_of_manufacturer ON api_keys (manufacturer_id, created_at);
