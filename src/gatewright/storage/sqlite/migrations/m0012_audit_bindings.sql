-- Bindings of the audit log to the root secret.
-- 
-- A log created before this migration has none; the first append afterwards binds it from its size at that time.
CREATE TABLE audit_bindings (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    bound_from INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    root       BLOB NOT NULL,
    mac        BLOB NOT NULL
) STRICT;
