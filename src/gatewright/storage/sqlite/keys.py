"""Data keys in SQLite, and their transfer between databases."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gatewright.errors import KeyUnavailableError
from gatewright.storage.changes import ALL
from gatewright.storage.keys import (
    KEYS_TOPIC,
    GenerationStatus,
    Rewrapping,
    Shredding,
    StoredDataKey,
    StoredKeyGeneration,
    StoredKeys,
    StoredReencryption,
    StoredRootKey,
)
from gatewright.storage.sqlite.changes import SqliteBase

_SHREDDINGS = "SELECT manufacturer_id, shredded_at, reason, keys FROM shredded_manufacturers"
_TABLES = ("root_keys", "key_generations", "shredded_manufacturers", "reencryptions")


def _read(connection: sqlite3.Connection) -> StoredKeys:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    connection.execute("SAVEPOINT all_keys")  # one snapshot of all four tables
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


GENERATIONS = "SELECT version, key_id, status, created_at, retired_at, reason FROM key_generations"
ROOTS = "SELECT root_id, created_at, retired_at FROM root_keys"
DATA_KEYS = "SELECT manufacturer_id, version, root_id, wrapped, created_at, uses FROM data_keys"


class SqliteKeys(SqliteBase):
    """Implements KeyStore, with transfer to another store."""

    async def list_root_keys(self) -> list[StoredRootKey]:
        rows = await self.engine.read(lambda c: c.execute(f"{ROOTS} ORDER BY created_at, root_id").fetchall())
        return [root_of(row) for row in rows]

    async def add_root_key(self, root: StoredRootKey) -> None:
        sql = "INSERT INTO root_keys (root_id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING"
        await self.engine.write(lambda c: c.execute(sql, (root.root_id, root.created_at.timestamp())).rowcount)

    async def retire_root_key(self, root_id: str, *, now: datetime) -> bool:
        sql = (
            "UPDATE root_keys SET retired_at = COALESCE(retired_at, ?) WHERE root_id = ?"
            " AND NOT EXISTS (SELECT 1 FROM data_keys WHERE data_keys.root_id = root_keys.root_id)"
        )
        return await self.engine.write(lambda c: c.execute(sql, (now.timestamp(), root_id)).rowcount == 1)

    async def list_key_generations(self) -> list[StoredKeyGeneration]:
        rows = await self.engine.read(lambda c: c.execute(f"{GENERATIONS} ORDER BY version").fetchall())
        return [generation_of(row) for row in rows]

    async def add_key_generation(self, generation: StoredKeyGeneration) -> StoredKeyGeneration:
        def work(connection: sqlite3.Connection) -> StoredKeyGeneration:
            newest = connection.execute(f"{GENERATIONS} ORDER BY version DESC LIMIT 1").fetchone()
            if generation.version != (newest[0] if newest else 0) + 1:
                return generation_of(newest)
            created = generation.created_at.timestamp()
            connection.execute(
                "UPDATE key_generations SET status = ?, retired_at = ? WHERE status = ?",
                (GenerationStatus.RETIRED, created, GenerationStatus.ACTIVE),
            )
            connection.execute(
                "INSERT INTO key_generations (version, key_id, status, created_at, reason) VALUES (?, ?, ?, ?, ?)",
                (generation.version, generation.key_id, GenerationStatus.ACTIVE, created, generation.reason),
            )
            self.poll.record(connection, KEYS_TOPIC, "rotated")
            return generation

        newest = await self.engine.write(work)
        self.changes.publish(KEYS_TOPIC, "rotated")
        return newest

    async def revoke_key_generation(self, key_id: str, *, now: datetime, reason: str, destroy: bool) -> int:
        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(f"{GENERATIONS} WHERE key_id = ?", (key_id,)).fetchone()
            if row is None:
                raise KeyUnavailableError(
                    f"Cannot revoke key generation {key_id}: its id is not known. Only an existing generation can be"
                    " revoked. Check the id."
                )
            if row[2] == GenerationStatus.ACTIVE:
                raise KeyUnavailableError(
                    f"Cannot revoke key generation {key_id}: it is active. Only a generation that is not active can be"
                    " revoked. Rotate the keys first."
                )
            status = GenerationStatus.DESTROYED if destroy else GenerationStatus.REVOKED
            connection.execute(
                "UPDATE key_generations SET status = ?, retired_at = COALESCE(retired_at, ?), reason = ?"
                " WHERE version = ? AND status <> ?",
                (status, now.timestamp(), reason, row[0], GenerationStatus.DESTROYED),
            )
            self.poll.record(connection, KEYS_TOPIC, f"revoked:{key_id}")
            if destroy:
                return overwrite_and_delete(connection, "version = ?", row[0])
            return _count(connection, "SELECT COUNT(*) FROM data_keys WHERE version = ?", row[0])

        keys = await self.engine.write(work)
        if destroy:
            await self.truncate_wal()
        self.changes.publish(KEYS_TOPIC, f"revoked:{key_id}")
        return keys

    async def get_data_key(self, manufacturer_id: str, version: int) -> StoredDataKey | None:
        return await self.engine.read(lambda c: _one_key(c, manufacturer_id, version))

    async def add_data_key(self, key: StoredDataKey) -> StoredDataKey:
        def work(connection: sqlite3.Connection) -> StoredDataKey:
            if _is_shredded(connection, key.manufacturer_id):
                raise KeyUnavailableError(
                    "The keys of this manufacturer were permanently destroyed. New keys cannot be created for it."
                    " Register the manufacturer under a new id.",
                    code="KEYS_SHREDDED",
                    context={"manufacturer_id": key.manufacturer_id},
                )
            connection.execute(
                "INSERT INTO data_keys (manufacturer_id, version, root_id, wrapped, created_at, uses)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (key.manufacturer_id, key.version, key.root_id, key.wrapped, key.created_at.timestamp(), key.uses),
            )
            existing = _one_key(connection, key.manufacturer_id, key.version)
            return existing if existing is not None else key

        return await self.engine.write(work)

    async def list_data_keys(
        self, *, root_id: str | None = None, after: tuple[str, int] | None = None, limit: int = 500
    ) -> list[StoredDataKey]:
        manufacturer_id, version = after or ("", -1)
        sql = (
            f"{DATA_KEYS} WHERE (manufacturer_id, version) > (?, ?) AND (? IS NULL OR root_id = ?)"
            " ORDER BY manufacturer_id, version LIMIT ?"
        )
        values = (manufacturer_id, version, root_id, root_id, limit)
        rows = await self.engine.read(lambda c: c.execute(sql, values).fetchall())
        return [data_key_of(row) for row in rows]

    async def rewrap_data_keys(self, rewrappings: Sequence[Rewrapping]) -> int:
        sql = "UPDATE data_keys SET wrapped = ?, root_id = ? WHERE manufacturer_id = ? AND version = ? AND wrapped = ?"
        rows = [(r.wrapped, r.root_id, r.manufacturer_id, r.version, r.expected) for r in rewrappings]

        def work(connection: sqlite3.Connection) -> int:
            self.poll.record(connection, KEYS_TOPIC, "rewrapped")
            return connection.executemany(sql, rows).rowcount

        changed = await self.engine.write(work)
        self.changes.publish(KEYS_TOPIC, "rewrapped")
        return changed

    async def reserve_key_uses(self, manufacturer_id: str, version: int, count: int) -> int:
        sql = "UPDATE data_keys SET uses = uses + ? WHERE manufacturer_id = ? AND version = ? RETURNING uses"
        row = await self.engine.write(lambda c: c.execute(sql, (count, manufacturer_id, version)).fetchone())
        return int(row[0]) if row else -1

    async def shred_data_keys(self, manufacturer_id: str, *, now: datetime, reason: str) -> int:
        def work(connection: sqlite3.Connection) -> int:
            keys = overwrite_and_delete(connection, "manufacturer_id = ?", manufacturer_id)
            connection.execute(
                "INSERT INTO shredded_manufacturers (manufacturer_id, shredded_at, reason, keys) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (manufacturer_id) DO UPDATE SET keys = keys + excluded.keys",
                (manufacturer_id, now.timestamp(), reason, keys),
            )
            self.poll.record(connection, KEYS_TOPIC, f"shredded:{manufacturer_id}")
            return keys

        keys = await self.engine.write(work)
        await self.truncate_wal()
        self.changes.publish(KEYS_TOPIC, f"shredded:{manufacturer_id}")
        return keys

    async def is_shredded(self, manufacturer_id: str) -> bool:
        return await self.engine.read(lambda c: _is_shredded(c, manufacturer_id))

    async def get_reencryption(self, source: str) -> StoredReencryption | None:
        sql = (
            "SELECT source, target_version, cursor, scanned, reencrypted, failed, started_at, updated_at, finished_at"
            " FROM reencryptions WHERE source = ?"
        )
        row = await self.engine.read(lambda c: c.execute(sql, (source,)).fetchone())
        if row is None:
            return None
        return StoredReencryption(
            source=row[0],
            target_version=row[1],
            cursor=row[2],
            scanned=row[3],
            reencrypted=row[4],
            failed=row[5],
            started_at=time_of(row[6]),
            updated_at=time_of(row[7]),
            finished_at=optional_time(row[8]),
        )

    async def save_reencryption(self, progress: StoredReencryption) -> None:
        sql = (
            "INSERT INTO reencryptions (source, target_version, cursor, scanned, reencrypted, failed, started_at,"
            " updated_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET"
            " target_version = excluded.target_version, cursor = excluded.cursor, scanned = excluded.scanned,"
            " reencrypted = excluded.reencrypted, failed = excluded.failed, started_at = excluded.started_at,"
            " updated_at = excluded.updated_at, finished_at = excluded.finished_at"
        )
        values = (
            progress.source,
            progress.target_version,
            progress.cursor,
            progress.scanned,
            progress.reencrypted,
            progress.failed,
            progress.started_at.timestamp(),
            progress.updated_at.timestamp(),
            progress.finished_at.timestamp() if progress.finished_at else None,
        )
        await self.engine.write(lambda c: c.execute(sql, values).rowcount)

    async def truncate_wal(self) -> None:
        """Checkpoint and truncate the write-ahead log, so that destroyed keys do not survive in it.

        Pages that a concurrent reader still uses are left to the next checkpoint.
        """
        if self.engine.in_memory:
            return

        def checkpoint() -> None:
            with contextlib.closing(self.engine.connect()) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

        with contextlib.suppress(sqlite3.Error):
            await asyncio.to_thread(checkpoint)

    async def read_keys(self) -> StoredKeys:
        return await self.engine.read(_read)

    async def put_keys(self, keys: StoredKeys) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            existing = _read(connection)
            if existing == StoredKeys():
                _insert(connection, keys)
                self.poll.record(connection, KEYS_TOPIC, ALL)
                return True
            return existing == keys

        imported = await self.engine.write(work)
        self.changes.publish(KEYS_TOPIC, ALL)
        return imported

    async def erase_keys(self) -> int:
        def work(connection: sqlite3.Connection) -> int:
            erased = overwrite_and_delete(connection, "version >= ?", 0)
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - written above
            self.poll.record(connection, KEYS_TOPIC, ALL)
            return erased

        erased = await self.engine.write(work)
        await self.truncate_wal()
        self.changes.publish(KEYS_TOPIC, ALL)
        return erased


def overwrite_and_delete(connection: sqlite3.Connection, condition: str, value: str | int) -> int:
    """Overwrite wrapped keys, then delete them, and return their number."""
    connection.execute(
        f"UPDATE data_keys SET wrapped = zeroblob(length(wrapped)) WHERE {condition}",  # noqa: S608 - written above
        (value,),
    )
    return connection.execute(f"DELETE FROM data_keys WHERE {condition}", (value,)).rowcount  # noqa: S608 - written above


def _is_shredded(connection: sqlite3.Connection, manufacturer_id: str) -> bool:
    sql = "SELECT COUNT(*) FROM shredded_manufacturers WHERE manufacturer_id = ?"
    return _count(connection, sql, manufacturer_id) > 0


def _count(connection: sqlite3.Connection, sql: str, value: str | int) -> int:
    return int(connection.execute(sql, (value,)).fetchone()[0])


def _one_key(connection: sqlite3.Connection, manufacturer_id: str, version: int) -> StoredDataKey | None:
    sql = f"{DATA_KEYS} WHERE manufacturer_id = ? AND version = ?"
    row = connection.execute(sql, (manufacturer_id, version)).fetchone()
    return data_key_of(row) if row else None


def root_of(row: tuple[Any, ...]) -> StoredRootKey:
    return StoredRootKey(root_id=row[0], created_at=time_of(row[1]), retired_at=optional_time(row[2]))


def generation_of(row: tuple[Any, ...]) -> StoredKeyGeneration:
    return StoredKeyGeneration(
        version=row[0],
        key_id=row[1],
        status=row[2],
        created_at=time_of(row[3]),
        retired_at=optional_time(row[4]),
        reason=row[5],
    )


def data_key_of(row: tuple[Any, ...]) -> StoredDataKey:
    return StoredDataKey(
        manufacturer_id=row[0],
        version=row[1],
        root_id=row[2],
        wrapped=row[3],
        created_at=time_of(row[4]),
        uses=row[5],
    )


def time_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def optional_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else time_of(seconds)
