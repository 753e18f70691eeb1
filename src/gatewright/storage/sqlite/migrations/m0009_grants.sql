-- Invitations, temporary grants and restrictions, and denied permissions.
CREATE TABLE invitations (
    invitation_id   TEXT PRIMARY KEY,
    manufacturer_id TEXT NOT NULL,
    email           TEXT NOT NULL COLLATE NOCASE,
    role            TEXT NOT NULL,
    token_hash      TEXT NOT NULL UNIQUE,
    invited_by      TEXT,
    created_at      REAL NOT NULL,
    expires_at      REAL NOT NULL
) STRICT;
CREATE INDEX invitations_of ON invitations (manufacturer_id, created_at);

CREATE TABLE adjustments (
    suggestion_id   TEXT PRIMARY KEY,
    manufacturer_id TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('tier', 'grant', 'restrict')),
    subject         TEXT NOT NULL,
    status          TEXT NOT NULL,
    former          TEXT,
    grant_id        TEXT,
    until           REAL,
    author          TEXT,
    created_at      REAL NOT NULL,
    changed_at      REAL NOT NULL
) STRICT;
CREATE INDEX adjustments_of ON adjustments (manufacturer_id, status);

CREATE TABLE permission_use (
    manufacturer_id TEXT NOT NULL,
    permission      TEXT NOT NULL,
    first_day       INTEGER NOT NULL,
    last_day        INTEGER NOT NULL,
    PRIMARY KEY (manufacturer_id, permission)
) STRICT, WITHOUT ROWID;

CREATE TABLE unregistered_tiers (
    manufacturer_id TEXT PRIMARY KEY,
    tier            TEXT NOT NULL,
    updated_at      REAL NOT NULL
) STRICT;

CREATE TABLE grants (
    grant_id        TEXT PRIMARY KEY,
    manufacturer_id TEXT NOT NULL,
    permission      TEXT NOT NULL,
    effect          TEXT NOT NULL CHECK (effect IN ('grant', 'restrict')),
    until           REAL,
    reason          TEXT NOT NULL,
    author          TEXT,
    created_at      REAL NOT NULL,
    revoked_at      REAL
) STRICT;
CREATE INDEX grants_of ON grants (manufacturer_id);

CREATE TABLE permission_violations (
    id                INTEGER PRIMARY KEY,
    manufacturer_id   TEXT NOT NULL,
    permission        TEXT NOT NULL,
    tier              TEXT NOT NULL,
    operation_context TEXT NOT NULL,
    ip_address        TEXT,
    at                REAL NOT NULL
) STRICT;
CREATE INDEX permission_violations_of ON permission_violations (manufacturer_id, at);
