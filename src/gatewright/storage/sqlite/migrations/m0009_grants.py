"""Temporary grants and restrictions, and the permissions that were refused."""

SQL = """
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
"""
