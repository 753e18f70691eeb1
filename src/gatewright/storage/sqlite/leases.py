"""Quota leases and quota adjustments in SQLite."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from gatewright.storage.sqlite.changes import SqliteBase
from gatewright.storage.sqlite.counting import USED, add, give_back
from gatewright.storage.sqlite.ledger import Ledger, delete_abandoned, lock_abandoned, read_slot, read_spent
from gatewright.storage.usage import SHARE, SMALLEST, Leased, LeasedUnits, StoredAdjustment, UsageTake

_INSERT = (
    "INSERT INTO leases (manufacturer_id, resource, bucket, since, amount, ledger, slot, until)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_OUTSTANDING = (
    "SELECT ledger, slot, amount FROM leases WHERE manufacturer_id = ? AND resource = ? AND bucket >= ? AND ledger != ?"
)
_EARLIEST_END = "SELECT ledger, MIN(until) FROM leases GROUP BY ledger"
_EXPIRED = (
    "SELECT ledger, lease_id, manufacturer_id, resource, bucket, since, amount, slot FROM leases WHERE until <= ?1"
    " AND ledger != ?2 AND (?3 IS NULL OR (manufacturer_id = ?3 AND resource = ?4)) ORDER BY ledger"
)


class SqliteLeases(SqliteBase):
    """Implements LeaseStore."""

    _ledger: Ledger | None = None

    @property
    def ledgers(self) -> Path | None:
        """The directory of the ledgers of all processes on this database; None for an in-memory database."""
        return None if self.engine.in_memory else Path(f"{self.engine.path}-leases")

    async def lease_usage(
        self,
        manufacturer_id: str,
        take: UsageTake,
        most: int,
        *,
        at: datetime,
        until: datetime,
        former: LeasedUnits | None,
    ) -> Leased:
        leased = await self.engine.write(
            lambda connection: self._lease(connection, manufacturer_id, take, most, at, until, former)
        )
        self._release_slot(former)
        return leased

    async def end_lease(self, piece: LeasedUnits) -> None:
        await self.engine.write(lambda connection: self._end_lease(connection, piece))
        self._release_slot(piece)

    async def unspent_usage(self, manufacturer_id: str, take: UsageTake) -> int:
        rows = await self.engine.read(
            lambda connection: connection.execute(
                _OUTSTANDING, (manufacturer_id, take.resource, take.since, " ")
            ).fetchall()
        )
        return sum(max(0, amount - self._spent(ledger, slot, amount)) for ledger, slot, amount in rows)

    async def reclaim_leases(self, at: datetime) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return self.reclaim(connection, at.timestamp())

        if self.ledgers is None or not self.ledgers.is_dir():
            return 0
        earliest = dict(await self.engine.read(lambda connection: connection.execute(_EARLIEST_END).fetchall()))
        if any(until <= at.timestamp() for ledger, until in earliest.items() if ledger != self._name):
            return await self.engine.write(work)
        delete_abandoned(self.ledgers, {*earliest, self._name})
        return 0

    def reclaim(
        self, connection: sqlite3.Connection, at: float, manufacturer_id: str | None = None, resource: str | None = None
    ) -> int:
        """Like :meth:`reclaim_leases`, within a write; optionally for one resource of one manufacturer."""
        if self.ledgers is None:
            return 0
        rows = connection.execute(_EXPIRED, (at, self._name, manufacturer_id, resource)).fetchall()
        by_ledger = groupby(rows, lambda row: row[0])
        return sum(_reclaim(connection, self.ledgers, name, list(leases)) for name, leases in by_ledger)

    def close_ledger(self) -> None:
        """Close the ledger of this process."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    @property
    def _name(self) -> str:
        return "" if self._ledger is None else self._ledger.name

    def _lease(
        self,
        connection: sqlite3.Connection,
        manufacturer_id: str,
        take: UsageTake,
        maximum: int,
        at: datetime,
        until: datetime,
        previous: LeasedUnits | None,
    ) -> Leased:
        if previous is not None:
            self._end_lease(connection, previous)
        key = (manufacturer_id, take.resource)
        used = int(connection.execute(USED, (*key, take.since)).fetchone()[0])
        if take.limit - used < take.amount and self.reclaim(connection, at.timestamp(), *key):
            used = int(connection.execute(USED, (*key, take.since)).fetchone()[0])
        remaining = take.limit - used
        amount = min(maximum, max(remaining // SHARE, min(remaining, SMALLEST)))
        ledger = self._open_ledger()
        if amount < take.amount or ledger is None or (slot := ledger.take_slot()) is None:
            others = connection.execute(_OUTSTANDING, (*key, take.since, self._name)).fetchall()
            return Leased(used=used, elsewhere=sum(row[2] for row in others))
        add(connection, manufacturer_id, take, amount)
        row = (*key, take.bucket, take.since, amount, ledger.name, slot, until.timestamp())
        lease_id = connection.execute(_INSERT, row).lastrowid or 0
        leased = msgspec.structs.replace(take, amount=amount)
        return Leased(used=used + amount, units=LeasedUnits(lease_id, manufacturer_id, leased, ledger.spent, slot))

    def _open_ledger(self) -> Ledger | None:
        """Return the ledger of this process; None if it cannot be written, so that no units are leased."""
        if self._ledger is None:
            with contextlib.suppress(OSError):
                self._ledger = Ledger(self.ledgers)
        return self._ledger

    def _end_lease(self, connection: sqlite3.Connection, units: LeasedUnits) -> None:
        if self._ledger is None:
            return
        ended = connection.execute("DELETE FROM leases WHERE lease_id = ?", (units.lease_id,)).rowcount
        if ended and (unspent := units.take.amount - self._ledger.spent[units.slot]):
            give_back(connection, units.manufacturer_id, msgspec.structs.replace(units.take, amount=unspent))

    def _release_slot(self, units: LeasedUnits | None) -> None:
        """Free the slot of an ended lease, once. Call it after the commit."""
        if units is not None and self._ledger is not None and units.slot >= 0:
            self._ledger.free_slot(units.slot)
            units.slot = -1

    def _spent(self, name: str, slot: int, amount: int) -> int:
        if self._ledger is not None and name == self._ledger.name:
            return self._ledger.spent[slot]
        spent = None if self.ledgers is None else read_spent(self.ledgers, name, slot)
        return amount if spent is None else spent


def _reclaim(connection: sqlite3.Connection, directory: Path, name: str, rows: list[tuple[str, ...]]) -> int:
    """Return the unspent units of an exited process; 0 if it is running, since it returns them itself."""
    try:
        with lock_abandoned(directory, name) as file:
            if file is None:
                return 0
            for _, lease_id, manufacturer_id, resource, bucket, since, amount, slot in rows:
                unspent = int(amount) - read_slot(file, int(slot))
                take = UsageTake(resource=resource, amount=unspent, limit=-1, bucket=int(bucket), since=int(since))
                connection.execute("DELETE FROM leases WHERE lease_id = ?", (lease_id,))
                if unspent > 0:
                    give_back(connection, manufacturer_id, take)
    except FileNotFoundError:  # the spent units are unknown: count them all
        connection.executemany("DELETE FROM leases WHERE lease_id = ?", [(row[1],) for row in rows])
    return len(rows)


_COLUMNS = (
    "suggestion_id, manufacturer_id, kind, subject, status, former, grant_id, until, author, created_at, changed_at"
)


class SqliteAdjustments(SqliteBase):
    """Implements AdjustmentStore."""

    async def propose_adjustment(self, adjustment: StoredAdjustment) -> None:
        sql = (
            f"INSERT INTO adjustments ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant
            " ON CONFLICT (suggestion_id) DO UPDATE SET status = 'proposed', former = NULL, grant_id = NULL,"
            " until = NULL, author = NULL, changed_at = excluded.changed_at WHERE status != 'applied'"
        )
        await self.engine.write(lambda c: c.execute(sql, _row(adjustment)).rowcount)

    async def get_adjustment(self, suggestion_id: str) -> StoredAdjustment | None:
        sql = f"SELECT {_COLUMNS} FROM adjustments WHERE suggestion_id = ?"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (suggestion_id,)).fetchone())
        return None if row is None else _adjustment(row)

    async def list_adjustments(
        self, manufacturer_id: str | None = None, *, status: str | None = None, limit: int = 1_000
    ) -> list[StoredAdjustment]:
        sql = (
            f"SELECT {_COLUMNS} FROM adjustments WHERE (?1 IS NULL OR manufacturer_id = ?1)"  # noqa: S608 - constant
            " AND (?2 IS NULL OR status = ?2) ORDER BY changed_at DESC, suggestion_id LIMIT ?3"
        )
        values = (manufacturer_id, status, limit)
        return await self.engine.read(lambda c: [_adjustment(row) for row in c.execute(sql, values)])

    async def change_adjustment(self, adjustment: StoredAdjustment, *, expected: str) -> bool:
        sql = (
            "UPDATE adjustments SET status = ?, former = ?, grant_id = ?, until = ?, author = ?, changed_at = ?"
            " WHERE suggestion_id = ? AND status = ?"
        )
        row = _row(adjustment)
        values = (*row[4:9], row[10], adjustment.suggestion_id, expected)

        def work(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(sql, values).rowcount == 1
            if changed:
                self.poll.record(connection, "grants", adjustment.manufacturer_id)
            return changed

        changed = await self.engine.write(work)
        if changed:
            self.changes.publish("grants", adjustment.manufacturer_id)
        return changed

    async def replace_tier(self, manufacturer_id: str, *, expected: str | None, tier: str | None) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            changed = _replace_tier(connection, manufacturer_id, expected, tier)
            if changed:
                self.poll.record(connection, "manufacturer", manufacturer_id)
            return changed

        changed = await self.engine.write(work)
        if changed:
            self.changes.publish("manufacturer", manufacturer_id)
        return changed

    async def note_permission_use(self, manufacturer_id: str, permission: str, day: int) -> None:
        sql = (
            "INSERT INTO permission_use VALUES (?1, ?2, ?3, ?3) ON CONFLICT (manufacturer_id, permission)"
            " DO UPDATE SET last_day = MAX(last_day, excluded.last_day)"
        )
        await self.engine.write(lambda c: c.execute(sql, (manufacturer_id, permission, day)).rowcount)

    async def permission_use(self, manufacturer_id: str) -> dict[str, tuple[int, int]]:
        sql = "SELECT permission, first_day, last_day FROM permission_use WHERE manufacturer_id = ?"
        rows = await self.engine.read(lambda c: c.execute(sql, (manufacturer_id,)).fetchall())
        return {permission: (first, last) for permission, first, last in rows}


def _replace_tier(connection: sqlite3.Connection, manufacturer_id: str, expected: str | None, tier: str | None) -> bool:
    now = time.time()
    registered = connection.execute(
        "SELECT tier FROM manufacturers WHERE manufacturer_id = ?", (manufacturer_id,)
    ).fetchone()
    if registered is not None:
        if registered[0] != expected or tier is None:
            return False
        connection.execute(
            "UPDATE manufacturers SET tier = ?, updated_at = ? WHERE manufacturer_id = ?", (tier, now, manufacturer_id)
        )
        return True
    row = connection.execute(
        "SELECT tier FROM unregistered_tiers WHERE manufacturer_id = ?", (manufacturer_id,)
    ).fetchone()
    if (None if row is None else row[0]) != expected:
        return False
    if tier is None:
        connection.execute("DELETE FROM unregistered_tiers WHERE manufacturer_id = ?", (manufacturer_id,))
    else:
        connection.execute("INSERT OR REPLACE INTO unregistered_tiers VALUES (?, ?, ?)", (manufacturer_id, tier, now))
    return True


def _row(a: StoredAdjustment) -> tuple[Any, ...]:
    return (
        a.suggestion_id,
        a.manufacturer_id,
        a.kind,
        a.subject,
        a.status,
        a.former,
        a.grant_id,
        None if a.until is None else a.until.timestamp(),
        a.author,
        a.created_at.timestamp(),
        a.changed_at.timestamp(),
    )


def _adjustment(row: tuple[Any, ...]) -> StoredAdjustment:
    return StoredAdjustment(
        suggestion_id=row[0],
        manufacturer_id=row[1],
        kind=row[2],
        subject=row[3],
        status=row[4],
        former=row[5],
        grant_id=row[6],
        until=None if row[7] is None else datetime.fromtimestamp(row[7], UTC),
        author=row[8],
        created_at=datetime.fromtimestamp(row[9], UTC),
        changed_at=datetime.fromtimestamp(row[10], UTC),
    )
