"""Usage counters in SQLite, and how units are counted."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Collection
from concurrent.futures import Future
from datetime import UTC, datetime

from gatewright.errors import StoreUnavailableError
from gatewright.storage.sqlite.counting import USED, Order, decide_all, give_back
from gatewright.storage.sqlite.leases import SqliteLeases
from gatewright.storage.usage import OverageAttempt, StoredUsage, TakeOutcome, UsageTake

TOGETHER = 512
"""Takes in one step at the most, so that other writes are not held up."""

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
    """Collects the takes of one event loop while a step is under way, and runs them as the next step."""

    def __init__(self, store: SqliteLeases, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._store = store
        self._waiting: list[_Waiting] = []
        self._busy = False

    def put(self, order: Order) -> asyncio.Future[TakeOutcome]:
        future: asyncio.Future[TakeOutcome] = self.loop.create_future()
        self._waiting.append((order, future))
        if not self._busy:
            self._busy = True
            self.loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        wanted = [one for one in self._waiting if not one[1].done()]  # the callers of the others were cancelled
        batch, self._waiting = wanted[:TOGETHER], wanted[TOGETHER:]
        orders = [order for order, _ in batch]
        try:
            done = self._store.engine.submit(lambda connection: decide_all(connection, orders, self._store.reclaim))
        except Exception as error:  # the store is closed: each caller is told
            self._finish(batch, None, error)
            return
        done.add_done_callback(lambda future: self._answer(batch, future))

    def _answer(self, batch: list[_Waiting], done: Future[list[TakeOutcome]]) -> None:
        """On the writer's thread: hand all results to the loop in one go."""
        problem = done.exception()
        outcomes = done.result() if problem is None else None
        try:
            self.loop.call_soon_threadsafe(self._finish, batch, outcomes, problem)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more

    def _finish(self, batch: list[_Waiting], outcomes: list[TakeOutcome] | None, problem: BaseException | None) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            self.loop.call_soon(self._start)
        for number, (order, future) in enumerate(batch):
            if future.done():
                if outcomes is not None and outcomes[number].granted:
                    self._undo(order)
            elif outcomes is not None:
                future.set_result(outcomes[number])
            elif problem is not None:
                future.set_exception(problem)

    def _undo(self, order: Order) -> None:
        """Give back what was taken for a caller that was cancelled meanwhile."""

        def work(connection: sqlite3.Connection) -> None:
            for take in order.takes:
                give_back(connection, order.manufacturer_id, take)

        with contextlib.suppress(StoreUnavailableError):  # closed: the caller is gone as well
            self._store.engine.submit(work)


def _read(connection: sqlite3.Connection, manufacturer_id: str, takes: tuple[UsageTake, ...]) -> tuple[int, ...]:
    return tuple(connection.execute(USED, (manufacturer_id, take.resource, take.since)).fetchone()[0] for take in takes)
