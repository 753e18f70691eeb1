-- Feedback on verdicts, and model versions trained on it.
CREATE TABLE feedback (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    feedback_id TEXT NOT NULL UNIQUE,
    actor       TEXT NOT NULL,
    source      TEXT NOT NULL,
    digest      TEXT NOT NULL,
    text        TEXT NOT NULL,
    threat_type TEXT NOT NULL,
    is_threat   INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    status      TEXT NOT NULL,
    note        TEXT NOT NULL,
    confidence  REAL NOT NULL,
    created_at  REAL NOT NULL,
    UNIQUE (actor, digest, threat_type)
) STRICT;
CREATE INDEX feedback_of_actor ON feedback (actor, created_at);
CREATE INDEX feedback_by_status ON feedback (status, seq);

CREATE TABLE model_versions (
    version    INTEGER PRIMARY KEY AUTOINCREMENT,
    base       TEXT NOT NULL,
    accepted   INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    metrics    TEXT NOT NULL,
    delta      BLOB,
    active     INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_active_model ON model_versions (active) WHERE active = 1;
