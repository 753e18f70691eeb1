"""All keys of a SQLite store at once: read, taken over from another store, erased."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from gatewright.storage.changes import ALL
from gatewright.storage.keys import KEYS_TOPIC, Shredding, StoredKeys
from gatewright.storage.sqlite.keys import (
    DATA_KEYS,
    GENERATIONS,
    ROOTS,
    SqliteKeys,
    data_key_of,
    destroy_keys,
    generation_of,
    root_of,
    time_of,
)

_SHREDDINGS = "SELECT manufacturer_id, shredded_at, reason, keys FROM shredded_manufacturers"
_TABLES = ("root_keys", "key_generations", "shredded_manufacturers", "reencryptions")


class SqliteKeyTransfer(SqliteKeys):
    """The KeyStore slice whose keys can move."""

    async def read_keys(self) -> StoredKeys:
        return await self.engine.read(_read)

    async def put_keys(self, keys: StoredKeys) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            present = _read(connection)
            if present == StoredKeys():
                _insert(connection, keys)
                self.poll.record(connection, KEYS_TOPIC, ALL)
                return True
            return present == keys

        taken = await self.engine.write(work)
        self.changes.publish(KEYS_TOPIC, ALL)
        return taken

    async def erase_keys(self) -> int:
        def work(connection: sqlite3.Connection) -> int:
            erased = destroy_keys(connection, "version >= ?", 0)
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - written above
            self.poll.record(connection, KEYS_TOPIC, ALL)
            return erased

        erased = await self.engine.write(work)
        await self.forget_old_pages()
        self.changes.publish(KEYS_TOPIC, ALL)
        return erased


def _read(connection: sqlite3.Connection) -> StoredKeys:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    connection.execute("SAVEPOINT all_keys")  # one moment for all four tables
    try:
        return StoredKeys(
            roots=[root_of(row) for row in rows(f"{ROOTS} ORDER BY created_at, root_id")],
            generations=[generation_of(row) for row in rows(f"{GENERATIONS} ORDER BY version")],
            data_keys=[data_key_of(row) for row in rows(f"{DATA_KEYS} ORDER BY manufacturer_id, version")],
            shredded=[
                Shredding(manufacturer_id=row[0], shredded_at=time_of(row[1]), reason=row[2], destroyed=row[3])
                for row in rows(f"{_SHREDDINGS} ORDER BY manufacturer_id")
            ],
        )
    finally:
        connection.execute("RELEASE all_keys")


def _insert(connection: sqlite3.Connection, keys: StoredKeys) -> None:
    connection.executemany(
        "INSERT INTO root_keys (root_id, created_at, retired_at) VALUES (?, ?, ?)",
        [(r.root_id, r.created_at.timestamp(), _seconds(r.retired_at)) for r in keys.roots],
    )
    connection.executemany(
        "INSERT INTO key_generations (version, key_id, status, created_at, retired_at, reason)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (g.version, g.key_id, g.status, g.created_at.timestamp(), _seconds(g.retired_at), g.reason)
            for g in keys.generations
        ],
    )
    connection.executemany(
        "INSERT INTO data_keys (manufacturer_id, version, root_id, wrapped, created_at, uses)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (k.manufacturer_id, k.version, k.root_id, k.wrapped, k.created_at.timestamp(), k.uses)
            for k in keys.data_keys
        ],
    )
    connection.executemany(
        "INSERT INTO shredded_manufacturers (manufacturer_id, shredded_at, reason, keys) VALUES (?, ?, ?, ?)",
        [(s.manufacturer_id, s.shredded_at.timestamp(), s.reason, s.destroyed) for s in keys.shredded],
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
