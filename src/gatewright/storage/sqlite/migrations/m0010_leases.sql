-- Quota units leased to processes, which spend them locally.
CREATE TABLE leases (
    lease_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    manufacturer_id TEXT NOT NULL,
    resource        TEXT NOT NULL,
    bucket          INTEGER NOT NULL,
    since           INTEGER NOT NULL,
    amount          INTEGER NOT NULL,
    ledger          TEXT NOT NULL,
    slot            INTEGER NOT NULL,
    until           REAL NOT NULL
) STRICT;
CREATE INDEX leases_of ON leases (manufacturer_id, resource, until);
CREATE INDEX leases_until ON leases (until);
