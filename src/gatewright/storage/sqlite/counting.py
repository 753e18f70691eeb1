"""Counting of quota units in SQLite: takes decided in one transaction, refusals recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from gatewright.records import Record
from gatewright.storage.usage import TakeOutcome, UsageTake

DAY = 86_400


ATTEMPTS_KEPT = 90 * DAY
"""Seconds for which refusals are kept."""


ATTEMPTS_OF_ONE = 5_000
"""Refusals that are kept of one manufacturer: who asks without success forever must not fill the disk."""


USED = "SELECT COALESCE(SUM(used), 0) FROM usage WHERE manufacturer_id = ? AND resource = ? AND bucket >= ?"


_ADD = (
    "INSERT INTO usage (manufacturer_id, resource, bucket, used) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (manufacturer_id, resource, bucket) DO UPDATE SET used = used + excluded.used"
)


_ATTEMPT = (
    "INSERT INTO overage_attempts (manufacturer_id, resource, amount, used, quota, operation_context, at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


Reclaim = Callable[[sqlite3.Connection, float, str, str], int]
"""Gives back what killed processes held of one resource until a moment; how many leases there were."""


class Order(Record, frozen=True, kw_only=True):
    """One call of ``take_usage``; ``at`` in seconds since the epoch."""

    manufacturer_id: str
    takes: tuple[UsageTake, ...]
    at: float
    operation_context: str = ""


class Counting:
    """The counters that one transaction touches.

    Args:
        connection: in a write transaction; :meth:`write` must be called before it ends.
        reclaim: asked once for each resource before it is refused.
    """

    def __init__(self, connection: sqlite3.Connection, reclaim: Reclaim) -> None:
        self._connection = connection
        self._reclaim = reclaim
        self._reclaimed: set[tuple[str, str]] = set()
        self._used: dict[tuple[str, str], tuple[int, int]] = {}
        self._added: dict[tuple[str, str, int], int] = {}
        self._refused: list[tuple[str, str, int, int, int, str, float]] = []

    def decide(self, order: Order) -> TakeOutcome:
        """Take all that the order wants, or nothing."""
        owner, takes = order.manufacturer_id, order.takes
        used = [self.used(owner, take) for take in takes]
        for number, take in enumerate(takes):
            if take.limit >= 0 and used[number] + take.amount > take.limit:
                if self._found_more(order, take):
                    return self.decide(order)
                self._refused.append(
                    (owner, take.resource, take.amount, used[number], take.limit, order.operation_context, order.at)
                )
                return TakeOutcome(granted=False, used=tuple(used), refused=take.resource)
        for number, take in enumerate(takes):
            if take.amount:
                self.add(owner, take, take.amount)
                used[number] += take.amount
        return TakeOutcome(granted=True, used=tuple(used))

    def _found_more(self, order: Order, take: UsageTake) -> bool:
        """Whether something came back of what killed processes held."""
        key = (order.manufacturer_id, take.resource)
        if key in self._reclaimed:
            return False
        self._reclaimed.add(key)
        self._write_added()
        if not self._reclaim(self._connection, order.at, *key):
            return False
        self._used.pop(key, None)
        return True

    def used(self, manufacturer_id: str, take: UsageTake) -> int:
        """What is used of a resource from ``take.since`` on, what this transaction took included."""
        key = (manufacturer_id, take.resource)
        known = self._used.get(key)
        if known is not None and known[0] == take.since:
            return known[1]
        self._write_added()
        used = int(self._connection.execute(USED, (*key, take.since)).fetchone()[0])
        self._used[key] = (take.since, used)
        return used

    def add(self, manufacturer_id: str, take: UsageTake, amount: int) -> None:
        """Count ``amount`` more (less, when below zero) in the bucket of a take whose use was read before."""
        key = (manufacturer_id, take.resource)
        since, used = self._used[key]
        self._used[key] = (since, used + amount)
        bucket = (*key, take.bucket)
        self._added[bucket] = self._added.get(bucket, 0) + amount

    def write(self) -> None:
        """Write what was counted and refused."""
        self._write_added()
        if self._refused:
            self._connection.executemany(_ATTEMPT, self._refused)
            for owner, at in {row[0]: row[-1] for row in self._refused}.items():
                _forget_old_attempts(self._connection, owner, at)
            self._refused = []

    def _write_added(self) -> None:
        if self._added:
            self._connection.executemany(_ADD, [(*key, amount) for key, amount in self._added.items()])
            self._added = {}


def decide_all(connection: sqlite3.Connection, orders: Sequence[Order], reclaim: Reclaim) -> list[TakeOutcome]:
    """Decide orders one after the other, as if each had a transaction of its own."""
    counting = Counting(connection, reclaim)
    outcomes = [counting.decide(order) for order in orders]
    counting.write()
    return outcomes


def add(connection: sqlite3.Connection, manufacturer_id: str, take: UsageTake, amount: int) -> None:
    """Count ``amount`` units in the take's bucket."""
    connection.execute(_ADD, (manufacturer_id, take.resource, take.bucket, amount))


def give_back(connection: sqlite3.Connection, manufacturer_id: str, take: UsageTake) -> None:
    """Lower the take's bucket, then older ones down to ``since``, until the amount is given back."""
    left = take.amount
    rows = connection.execute(
        "SELECT bucket, used FROM usage WHERE manufacturer_id = ? AND resource = ? AND bucket BETWEEN ? AND ?"
        " AND used > 0 ORDER BY bucket DESC",
        (manufacturer_id, take.resource, take.since, take.bucket),
    ).fetchall()
    for bucket, used in rows:
        if left <= 0:
            return
        back = min(left, used)
        left -= back
        connection.execute(
            "UPDATE usage SET used = used - ? WHERE manufacturer_id = ? AND resource = ? AND bucket = ?",
            (back, manufacturer_id, take.resource, bucket),
        )


def _forget_old_attempts(connection: sqlite3.Connection, manufacturer_id: str, now: float) -> None:
    connection.execute(
        "DELETE FROM overage_attempts WHERE manufacturer_id = ?1 AND (at < ?2 OR id <= ("
        "SELECT id FROM overage_attempts WHERE manufacturer_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3))",
        (manufacturer_id, now - ATTEMPTS_KEPT, ATTEMPTS_OF_ONE),
    )
