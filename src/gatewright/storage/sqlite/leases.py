"""Leases in SQLite: a slice is counted in the transaction that hands it out, and a killed process's comes back."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from itertools import groupby
from pathlib import Path

import msgspec

from gatewright.storage.leases import SHARE, SMALLEST, Leased, Slice
from gatewright.storage.sqlite.base import SqliteBase
from gatewright.storage.sqlite.counting import USED, add, give_back
from gatewright.storage.sqlite.ledger import Ledger, of_the_dead, read_slot, spent_in, sweep_away
from gatewright.storage.usage import UsageTake

_INSERT = (
    "INSERT INTO leases (manufacturer_id, resource, bucket, since, amount, ledger, slot, until)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_OUT = (
    "SELECT ledger, slot, amount FROM leases WHERE manufacturer_id = ? AND resource = ? AND bucket >= ? AND ledger != ?"
)
_FIRST = "SELECT ledger, MIN(until) FROM leases GROUP BY ledger"
_ENDED = (
    "SELECT ledger, lease_id, manufacturer_id, resource, bucket, since, amount, slot FROM leases WHERE until <= ?1"
    " AND ledger != ?2 AND (?3 IS NULL OR (manufacturer_id = ?3 AND resource = ?4)) ORDER BY ledger"
)


class SqliteLeases(SqliteBase):
    """The LeaseStore slice."""

    _ledger: Ledger | None = None

    @property
    def ledgers(self) -> Path | None:
        """Where the processes of this database write down what they spend."""
        return None if self.engine.in_memory else Path(f"{self.engine.path}-leases")

    async def lease_usage(
        self, manufacturer_id: str, take: UsageTake, most: int, *, at: datetime, until: datetime, former: Slice | None
    ) -> Leased:
        leased = await self.engine.write(
            lambda connection: self._lease(connection, manufacturer_id, take, most, at, until, former)
        )
        self._let_go(former)
        return leased

    async def end_lease(self, piece: Slice) -> None:
        await self.engine.write(lambda connection: self._give_back_slice(connection, piece))
        self._let_go(piece)

    async def unspent_usage(self, manufacturer_id: str, take: UsageTake) -> int:
        rows = await self.engine.read(
            lambda connection: connection.execute(_OUT, (manufacturer_id, take.resource, take.since, " ")).fetchall()
        )
        return sum(max(0, amount - self._spent(ledger, slot, amount)) for ledger, slot, amount in rows)

    async def reclaim_leases(self, at: datetime) -> int:
        def work(connection: sqlite3.Connection) -> int:
            return self.reclaim(connection, at.timestamp())

        if self.ledgers is None or not self.ledgers.is_dir():
            return 0
        first = dict(await self.engine.read(lambda connection: connection.execute(_FIRST).fetchall()))
        if any(until <= at.timestamp() for ledger, until in first.items() if ledger != self._name):
            return await self.engine.write(work)
        sweep_away(self.ledgers, {*first, self._name})
        return 0

    def reclaim(
        self, connection: sqlite3.Connection, at: float, manufacturer_id: str | None = None, resource: str | None = None
    ) -> int:
        """Within a write: as :meth:`reclaim_leases`, of one resource of one manufacturer or of all."""
        if self.ledgers is None:
            return 0
        rows = connection.execute(_ENDED, (at, self._name, manufacturer_id, resource)).fetchall()
        return sum(_bring_back(connection, self.ledgers, name, list(of)) for name, of in groupby(rows, lambda r: r[0]))

    def close_ledger(self) -> None:
        """Let go of this process's ledger."""
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
        most: int,
        at: datetime,
        until: datetime,
        former: Slice | None,
    ) -> Leased:
        if former is not None:
            self._give_back_slice(connection, former)
        key = (manufacturer_id, take.resource)
        used = int(connection.execute(USED, (*key, take.since)).fetchone()[0])
        if take.limit - used < take.amount and self.reclaim(connection, at.timestamp(), *key):
            used = int(connection.execute(USED, (*key, take.since)).fetchone()[0])
        remaining = take.limit - used
        amount = min(most, max(remaining // SHARE, min(remaining, SMALLEST)))
        ledger = self._open_ledger()
        if amount < take.amount or ledger is None or (slot := ledger.take_slot()) is None:
            others = connection.execute(_OUT, (*key, take.since, self._name)).fetchall()
            return Leased(used=used, elsewhere=sum(row[2] for row in others))
        add(connection, manufacturer_id, take, amount)
        row = (*key, take.bucket, take.since, amount, ledger.name, slot, until.timestamp())
        lease_id = connection.execute(_INSERT, row).lastrowid or 0
        whole = msgspec.structs.replace(take, amount=amount)
        return Leased(used=used + amount, piece=Slice(lease_id, manufacturer_id, whole, ledger.spent, slot))

    def _open_ledger(self) -> Ledger | None:
        """This process's ledger; None where the disk does not take it, and the store alone decides."""
        if self._ledger is None:
            with contextlib.suppress(OSError):
                self._ledger = Ledger(self.ledgers)
        return self._ledger

    def _give_back_slice(self, connection: sqlite3.Connection, piece: Slice) -> None:
        if self._ledger is None:
            return
        ended = connection.execute("DELETE FROM leases WHERE lease_id = ?", (piece.lease_id,)).rowcount
        if ended and (unspent := piece.take.amount - self._ledger.spent[piece.slot]):
            give_back(connection, piece.manufacturer_id, msgspec.structs.replace(piece.take, amount=unspent))

    def _let_go(self, piece: Slice | None) -> None:
        """After the commit: the slot may be used again, once."""
        if piece is not None and self._ledger is not None and piece.slot >= 0:
            self._ledger.free_slot(piece.slot)
            piece.slot = -1

    def _spent(self, name: str, slot: int, amount: int) -> int:
        if self._ledger is not None and name == self._ledger.name:
            return self._ledger.spent[slot]
        spent = None if self.ledgers is None else spent_in(self.ledgers, name, slot)
        return amount if spent is None else spent


def _bring_back(connection: sqlite3.Connection, directory: Path, name: str, rows: list[tuple[str, ...]]) -> int:
    """Give back what a dead process held in these leases; 0 while it lives, since it gives them back itself."""
    try:
        with of_the_dead(directory, name) as file:
            if file is None:
                return 0
            for _, lease_id, manufacturer_id, resource, bucket, since, amount, slot in rows:
                unspent = int(amount) - read_slot(file, int(slot))
                take = UsageTake(resource=resource, amount=unspent, limit=-1, bucket=int(bucket), since=int(since))
                connection.execute("DELETE FROM leases WHERE lease_id = ?", (lease_id,))
                if unspent > 0:
                    give_back(connection, manufacturer_id, take)
    except FileNotFoundError:  # nobody can tell what was spent: all of it
        connection.executemany("DELETE FROM leases WHERE lease_id = ?", [(row[1],) for row in rows])
    return len(rows)
