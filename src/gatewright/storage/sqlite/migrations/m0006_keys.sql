-- Root keys, key generations, wrapped data keys, shredded manufacturers and re-encryption progress.
CREATE TABLE root_keys (
    root_id TEXT PRIMARY KEY,
    created_at REAL NOT NULL,
    retired_at REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE key_generations (
    version INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    retired_at REAL,
    reason TEXT
) STRICT;
CREATE TABLE data_keys (
    manufacturer_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    root_id TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    created_at REAL NOT NULL,
    uses INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (manufacturer_id, version)
) STRICT;
CREATE INDEX data_keys_by_root ON data_keys (root_id);
CREATE INDEX data_keys_by_version ON data_keys (version);
CREATE TABLE shredded_manufacturers (
    manufacturer_id TEXT PRIMARY KEY,
    shredded_at REAL NOT NULL,
    reason TEXT NOT NULL,
    keys INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE reencryptions (
    source TEXT PRIMARY KEY,
    target_version INTEGER NOT NULL,
    cursor TEXT,
    scanned INTEGER NOT NULL,
    reencrypted INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    started_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    finished_at REAL
) STRICT, WITHOUT ROWID;
