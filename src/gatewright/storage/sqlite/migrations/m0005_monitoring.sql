-- The audit log, incidents, measures and proposals.
CREATE TABLE audit_entries (
    idx             INTEGER PRIMARY KEY,
    event_id        TEXT NOT NULL UNIQUE,
    at              REAL NOT NULL,
    kind            TEXT NOT NULL,
    severity        INTEGER NOT NULL,
    manufacturer_id TEXT,
    account_id      TEXT,
    ip_address      TEXT,
    request_id      TEXT,
    body            BLOB NOT NULL,
    leaf_hash       BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_kind ON audit_entries (kind, idx);
CREATE INDEX audit_by_manufacturer ON audit_entries (manufacturer_id, idx) WHERE manufacturer_id IS NOT NULL;

CREATE TABLE audit_nodes (
    level INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_head (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    size  INTEGER NOT NULL,
    peaks BLOB NOT NULL
) STRICT;
INSERT INTO audit_head (id, size, peaks) VALUES (1, 0, x'');

CREATE TABLE audit_checkpoints (
    size       INTEGER PRIMARY KEY,
    root       BLOB NOT NULL,
    created_at REAL NOT NULL,
    note       TEXT NOT NULL
) STRICT;

CREATE TABLE incidents (
    incident_id     TEXT PRIMARY KEY,
    dedup_key       TEXT NOT NULL,
    kind            TEXT NOT NULL,
    status          TEXT NOT NULL,
    manufacturer_id TEXT,
    last_seen       REAL NOT NULL,
    body            BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (dedup_key) WHERE status = 'open';
CREATE INDEX incidents_by_time ON incidents (last_seen);

CREATE TABLE measures (
    measure_id TEXT PRIMARY KEY,
    until      REAL,
    body       BLOB NOT NULL
) STRICT;

CREATE TABLE proposals (
    proposal_id TEXT PRIMARY KEY,
    status      TEXT NOT NULL,
    created_at  REAL NOT NULL,
    body        BLOB NOT NULL
) STRICT;
CREATE INDEX proposals_by_time ON proposals (created_at);
