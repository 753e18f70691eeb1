"""The audit pipeline: from ``emit`` to the store, in order and in batches, with a spool for outages.

``emit`` puts an event into a bounded queue and returns. One task writes queued events to the store in one operation,
and passes them to correlation. While the store is unavailable, entries go to the spool on disk. Once it is available
again, they are moved to the store, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from gatewright.errors import StoreUnavailableError
from gatewright.events import SecurityEvent, Severity
from gatewright.logs import get_logger
from gatewright.monitoring.audit_encoding import entry_from, entry_of
from gatewright.monitoring.spool import Spool
from gatewright.storage.audit import AuditBinder, AuditStore, StoredAuditEntry

T = TypeVar("T")

_log = get_logger(__name__)

GATHER_SECONDS = 0.05
"""The time that ordinary events may wait for others, to be written together."""

BATCH = 2000
_INLINE = 8
"""Up to this number of events are encoded on the event loop (some 20 µs each), and more in a thread."""
_RETRY_GROWTH = 20
"""The maximum pause between retries, as a multiple of the first pause."""

ROUTINE = ("web", "access", "usage", "request")
"""Sources whose ``info`` events may be dropped when the queue is full."""


def must_be_audited(event: SecurityEvent) -> bool:
    """Whether a request must be refused if this event cannot be logged."""
    return event.severity != Severity.INFO.value or event.kind.partition(":")[0] not in ROUTINE


class _Queued(NamedTuple):
    """A queued event. An event that is folded is correlated but not kept, and the folded event is kept but not
    correlated, since its events already were."""

    event: SecurityEvent
    keep: bool
    correlate: bool


class AuditPipeline:
    """The queue of events, and the task that writes them.

    Args:
        store: stores the entries.
        spool: stores entries while the store is unavailable. None keeps them in memory.
        handle: called with each batch once it is stored. Must not raise.
        capacity: the maximum number of events in memory.
        retry: seconds before the first retry of the store. Doubles with each retry, up to 20 times.
        must_audit: whether ``emit`` must refuse an event, rather than drop it, when the queue is full.
        binder: binds the head of the log to the root secret with every append.
        rebound: called once if the log differs from the one that was last bound.
    """

    def __init__(
        self,
        store: AuditStore,
        spool: Spool | None,
        handle: Callable[[Sequence[SecurityEvent]], Awaitable[None]],
        *,
        capacity: int = 50_000,
        retry: float = 0.25,
        must_audit: Callable[[SecurityEvent], bool] = must_be_audited,
        binder: AuditBinder | None = None,
        rebound: Callable[[], None] | None = None,
    ) -> None:
        self._binder, self._rebound = binder, rebound
        self._store, self._spool, self._handle = store, spool, handle
        self._capacity, self._must_audit = capacity, must_audit
        self._queue: deque[_Queued] = deque()
        self._lock = threading.Lock()
        self._accepted = self._done = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake: asyncio.Event | None = None
        self._hurry = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._task: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closing = False
        self._first_retry = self._retry = retry
        self._try_again = 0.0
        self.store_away = False
        self.stuck = False
        self.appended = 0
        self.dropped = 0

    # --- input --------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """The number of events in memory."""
        return len(self._queue)

    @property
    def spooled_bytes(self) -> int:
        """The number of bytes on disk that wait for the store."""
        return self._spool.size if self._spool is not None else 0

    @property
    def accepting(self) -> bool:
        """Whether an event that must be audited would be accepted now."""
        return len(self._queue) < self._capacity

    def put(self, event: SecurityEvent, *, keep: bool = True, correlate: bool = True) -> None:
        """Add an event to the queue. Thread-safe.

        Args:
            keep: write the event to the log.
            correlate: pass the event to correlation.

        Raises:
            StoreUnavailableError: the queue is full, and the event must be audited.
        """
        with self._lock:
            if len(self._queue) >= self._capacity:
                if keep and self._must_audit(event):
                    raise StoreUnavailableError(
                        "The audit log cannot accept more events now. Try again shortly.",
                        code="AUDIT_UNAVAILABLE",
                        retry_after=5,
                    )
                self.dropped += 1
                return
            self._queue.append(_Queued(event, keep, correlate))
            self._accepted += 1
        wake, hurry = self._wake, self._hurry
        if wake is None:
            return
        for signal in (wake, hurry) if keep and event.severity != Severity.INFO else (wake,):
            if signal.is_set():
                continue
            if threading.get_ident() == self._loop_thread:
                signal.set()
            elif self._loop is not None:
                with contextlib.suppress(
                    RuntimeError
                ):  # the loop was closed: queued events are processed after the next start
                    self._loop.call_soon_threadsafe(signal.set)

    async def flush(self) -> None:
        """Wait until all events so far are on disk (store or spool) and processed.

        Raises:
            StoreUnavailableError: events cannot be stored now, or the monitor is not open.
        """
        target = self._accepted
        if self._done >= target:
            return
        if self._task is None or self.stuck:
            raise StoreUnavailableError(
                "The audit log cannot be written now. Try again shortly.", code="AUDIT_UNAVAILABLE"
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((target, future))
        self._hurry.set()
        await future

    # --- opening and closing ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start to write. Idempotent."""
        if self._task is not None:
            return
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gatewright-audit")
        if self._spool is not None:
            await self._in_thread(self._spool.open)
        self._closing = False
        self._wake = asyncio.Event()
        self._wake.set()
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Write the queued events, to the spool if necessary, and stop."""
        task = self._task
        if task is None or self._wake is None:
            return
        self._closing = True
        self._wake.set()
        self._hurry.set()
        await task
        self._task = self._wake = None
        if self._queue:
            _log.error("audit_events_lost", events=len(self._queue))
        if self._spool is not None:
            await self._in_thread(self._spool.close)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    # --- the task -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        wake = self._wake
        while wake is not None:
            wake.clear()
            if self._queue:
                await self._gather()
                if not await self._next_batch():
                    return
            elif self._spool is not None and self._spool.pending:
                if not await self._drain() and not await self._pause():
                    return
            elif self._closing:
                return
            else:
                await wake.wait()

    async def _gather(self) -> None:
        """Wait briefly for more events, since one commit for many is far cheaper.

        Events above severity ``info``, a flush and closing end the wait.
        """
        if len(self._queue) < BATCH and not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._hurry.wait()
        self._hurry.clear()

    async def _next_batch(self) -> bool:
        """Store and process a batch. Returns False when closing, if the batch cannot be stored."""
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        kept = [queued.event for queued in batch if queued.keep]
        if len(kept) <= _INLINE:
            entries = [entry_of(event) for event in kept]
        else:
            entries = await self._in_thread(lambda: [entry_of(event) for event in kept])
        while entries and not await self._keep(entries):
            self._set_stuck(True)
            if not await self._pause():
                self._queue.extendleft(reversed(batch))
                return False
        self._set_stuck(False)
        self.appended += len(kept)
        try:
            await self._handle([queued.event for queued in batch if queued.correlate])
        except Exception:
            _log.exception("audit_events_not_correlated", events=len(batch))
        self._done += len(batch)
        self._notify_waiters()
        return True

    async def _keep(self, entries: list[StoredAuditEntry]) -> bool:
        """Write entries to the store, or to the spool if the store is unavailable or older entries are spooled."""
        spool = self._spool
        if (spool is None or not spool.pending or await self._drain()) and await self._append(entries):
            return True
        if spool is None:
            return False
        try:
            await self._in_thread(lambda: spool.append([entry.body for entry in entries]))
        except StoreUnavailableError:
            return False
        return True

    async def _append(self, entries: list[StoredAuditEntry]) -> bool:
        now = asyncio.get_running_loop().time
        if self.store_away and now() < self._try_again and not self._closing:
            return False
        try:
            head = await self._store.append_audit(entries, self._binder)
        except Exception as error:  # no error may lose events
            if not self.store_away:
                _log.error("audit_events_spooled", error=error)
            self.store_away = True
            self._try_again = now() + self._retry
            self._retry = min(self._retry * 2, self._first_retry * _RETRY_GROWTH)
            return False
        if self.store_away:
            _log.info("audit_store_recovered")
        self.store_away = False
        self._retry = self._first_retry
        if head.rebound and self._rebound is not None:
            rebound, self._rebound = self._rebound, None
            rebound()
        return True

    async def _drain(self) -> bool:
        """Move spooled entries to the store, oldest first. Returns False if the store is unavailable."""
        spool = self._spool
        try:
            while spool is not None and spool.pending:
                bodies = await self._in_thread(lambda: spool.peek(BATCH // 2))
                if bodies:
                    if not await self._append(_readable(bodies)):
                        return False
                    await self._in_thread(spool.drop)
        except OSError as error:
            _log.error("audit_spool_unreadable", error=error)
            self._try_again = asyncio.get_running_loop().time() + self._first_retry * _RETRY_GROWTH
            return False
        return True

    async def _pause(self) -> bool:
        """Wait for the next retry, or for events for the spool. Returns False when closing."""
        loop, wake = asyncio.get_running_loop(), self._wake
        while wake is not None and not self._closing and (left := self._try_again - loop.time()) > 0:
            if self._queue and not self.stuck:
                break
            wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), left)
        return not self._closing

    def _set_stuck(self, stuck: bool) -> None:
        self.stuck = stuck
        if stuck:
            for _, future in self._waiters:
                if not future.done():
                    future.set_exception(
                        StoreUnavailableError(
                            "The audit log cannot be written now. Try again shortly.", code="AUDIT_UNAVAILABLE"
                        )
                    )
            self._waiters.clear()

    def _notify_waiters(self) -> None:
        left = []
        for target, future in self._waiters:
            if future.done():
                continue
            if target <= self._done:
                future.set_result(None)
            else:
                left.append((target, future))
        self._waiters = left

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _readable(bodies: Sequence[bytes]) -> list[StoredAuditEntry]:
    """The entries in spooled lines. Lines that are not entries are logged and skipped."""
    entries = []
    for body in bodies:
        try:
            entries.append(entry_from(body))
        except ValueError:
            _log.error("audit_spool_line_invalid", bytes=len(body))
    return entries
