"""Usage counters in SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial

from gatewright.errors import StoreUnavailableError
from gatewright.storage.sqlite.counting import USED, Order, decide_all, give_back
from gatewright.storage.sqlite.leases import SqliteLeases
from gatewright.storage.usage import OverageAttempt, StoredUsage, TakeOutcome, UsageTake

BATCH = 512
"""Takes decided in one transaction, so that other writes are not held up."""

_OUT = (
    "min(used, (SELECT COALESCE(SUM(amount), 0) FROM leases WHERE leases.manufacturer_id = usage.manufacturer_id"
    " AND leases.resource = usage.resource AND leases.bucket = usage.bucket))"
)


class SqliteUsage(SqliteLeases):
    """The UsageStore slice, and that of leases below it."""

    _takes: _TakeQueue | None = None

    async def take_usage(
        self, manufacturer_id: str, takes: tuple[UsageTake, ...], at: datetime, *, operation_context: str = ""
    ) -> TakeOutcome:
        loop = asyncio.get_running_loop()
        waiting = self._takes
        if waiting is None or waiting.loop is not loop:
            waiting = self._takes = _TakeQueue(self, loop)
        order = Order(
            manufacturer_id=manufacturer_id, takes=takes, at=at.timestamp(), operation_context=operation_context[:200]
        )
        return await waiting.put(order)

    async def read_usage(self, manufacturer_id: str, takes: tuple[UsageTake, ...]) -> tuple[int, ...]:
        return await self.engine.read(lambda connection: _read(connection, manufacturer_id, takes))

    async def refund_usage(self, manufacturer_id: str, take: UsageTake, at: datetime) -> int:
        def work(connection: sqlite3.Connection) -> int:
            give_back(connection, manufacturer_id, take)
            return _read(connection, manufacturer_id, (take,))[0]

        return await self.engine.write(work)

    async def reset_usage(self, manufacturer_id: str | None, resources: Collection[str], *, since: int) -> int:
        names = tuple(resources)
        where = (
            f"used > 0 AND bucket >= ? AND resource IN ({', '.join('?' * len(names))})"
            " AND (? IS NULL OR manufacturer_id = ?)"
        )
        values = (since, *names, manufacturer_id, manufacturer_id)

        def work(connection: sqlite3.Connection) -> int:
            count = connection.execute(
                f"SELECT COUNT(*) FROM (SELECT DISTINCT manufacturer_id, resource FROM usage WHERE {where})",  # noqa: S608 - constant but for the number of marks
                values,
            ).fetchone()[0]
            # What is leased stays counted, or what comes back of it would be taken off what is used from now on.
            connection.execute(f"UPDATE usage SET kept = kept + used - {_OUT}, used = {_OUT} WHERE {where}", values)  # noqa: S608 - as above
            return int(count)

        return await self.engine.write(work)

    async def usage_history(self, manufacturer_id: str, *, since: int = 0) -> list[StoredUsage]:
        sql = (
            "SELECT resource, bucket, used + kept FROM usage WHERE manufacturer_id = ? AND bucket >= ?"
            " ORDER BY bucket, resource"
        )
        rows = await self.engine.read(lambda c: c.execute(sql, (manufacturer_id, since)).fetchall())
        return [StoredUsage(resource=resource, start=start, used=used) for resource, start, used in rows]

    async def overage_attempts(self, manufacturer_id: str, *, since: datetime) -> list[OverageAttempt]:
        sql = """SELECT manufacturer_id, resource, amount, used, quota, operation_context, at FROM overage_attempts
                 WHERE manufacturer_id = ? AND at >= ? ORDER BY at DESC, id DESC LIMIT 1000"""
        rows = await self.engine.read(lambda c: c.execute(sql, (manufacturer_id, since.timestamp())).fetchall())
        return [
            OverageAttempt(
                manufacturer_id=owner,
                resource=resource,
                amount=amount,
                current=used,
                limit=quota,
                operation_context=context,
                timestamp=datetime.fromtimestamp(at, UTC),
            )
            for owner, resource, amount, used, quota, context, at in rows
        ]


_Waiting = tuple[Order, "asyncio.Future[TakeOutcome]"]


class _TakeQueue:
    """Collects the takes of one event loop while a batch is being decided, and decides them as the next batch."""

    def __init__(self, store: SqliteLeases, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    def put(self, order: Order) -> asyncio.Future[TakeOutcome]:
        """Queue a take. The future resolves after the commit."""
        future: asyncio.Future[TakeOutcome] = self.loop.create_future()
        self._waiting.append((order, future))
        if not self._busy:
            self._busy = True
            self.loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        batch: list[_Waiting] = []
        orders: list[Order] = []
        while self._waiting and len(batch) < BATCH:
            order, future = self._waiting.popleft()
            if not future.done():  # else its caller was canceled
                batch.append((order, future))
                orders.append(order)
        try:
            decided = self._store.engine.start_write(
                lambda connection: decide_all(connection, orders, self._store.reclaim), self.loop
            )
        except StoreUnavailableError as error:  # the store is closed
            decided = self.loop.create_future()
            decided.set_exception(error)
        decided.add_done_callback(partial(self._finish, batch))

    def _finish(self, batch: list[_Waiting], decided: asyncio.Future[list[TakeOutcome]]) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            self.loop.call_soon(self._start)
        problem = decided.exception()
        for number, (order, future) in enumerate(batch):
            if problem is not None:
                if not future.done():
                    future.set_exception(problem)
            elif not future.done():
                future.set_result(decided.result()[number])
            elif decided.result()[number].granted:
                self._undo(order)

    def _undo(self, order: Order) -> None:
        """Return what was taken for a caller that was canceled meanwhile."""

        def work(connection: sqlite3.Connection) -> None:
            for take in order.takes:
                give_back(connection, order.manufacturer_id, take)

        with contextlib.suppress(StoreUnavailableError):  # closed
            self._store.engine.start_write(work, self.loop)


def _read(connection: sqlite3.Connection, manufacturer_id: str, takes: tuple[UsageTake, ...]) -> tuple[int, ...]:
    return tuple(connection.execute(USED, (manufacturer_id, take.resource, take.since)).fetchone()[0] for take in takes)
