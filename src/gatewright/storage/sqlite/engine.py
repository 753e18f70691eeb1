"""The SQLite engine: connections, one writer with group commit, and the base of every domain.

Writes queue to one thread, which runs all that wait in one transaction and answers each caller after the
commit: sixty-four waiting writers cost one fsync. Each write runs in its own savepoint, so one that fails
takes nothing of the others with it. Several processes may share a file: ``BEGIN IMMEDIATE`` with a busy
timeout makes them take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gatewright.errors import StorageError, StoreUnavailableError

T = TypeVar("T")

_Write = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
"""A function that waits for the writer, the future of its caller, and the event loop of that."""
_Done = tuple[_Write, Any, BaseException | None]

GROUP_LIMIT = 256
"""Writes in one transaction at most, so that the first of them does not wait forever."""

_MEMORY = ":memory:"


class SqliteEngine:
    """Runs functions of a connection on the right thread.

    Args:
        path: the database file, or ``:memory:`` (one connection then serves reads and writes).
        busy_timeout: seconds to wait for another process's write before giving up.
        readers: reader threads, each with a connection of its own.
        durable: ``synchronous=FULL``: a commit that was answered survives a power cut. With False,
            ``NORMAL``: it survives the death of the process, not of the machine.
    """

    def __init__(self, path: str | Path, *, busy_timeout: float = 10.0, readers: int = 2, durable: bool = True) -> None:
        self.path = str(path)
        self._busy_timeout = busy_timeout
        self._durable = durable
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._writer_failure: BaseException | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._reader_count = readers
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._closing = threading.Lock()
        self._open = False

    @property
    def in_memory(self) -> bool:
        """Whether this is a private database that ends with the process."""
        return self.path == _MEMORY

    def connect(self) -> sqlite3.Connection:
        """A new connection with this engine's pragmas; the caller closes it."""
        try:
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cache_size = -8192")
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        return connection

    def _make_private(self) -> None:
        """Create a missing database file so that only its owner can read it."""
        if not self.in_memory:
            with contextlib.suppress(FileExistsError, OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    async def open(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        """Start the threads; ``prepare`` (migrations) runs first, on the writer's connection.

        Raises:
            StorageError: the file cannot be opened, is not a database, or is newer than this program.
        """
        if self._open:
            return
        self._make_private()
        ready: Future[None] = Future()
        self._writer = threading.Thread(
            target=self._write_loop, args=(prepare, ready), name="gatewright-sqlite-writer", daemon=True
        )
        self._writer.start()
        await asyncio.wrap_future(ready)
        if not self.in_memory:
            self._readers = ThreadPoolExecutor(self._reader_count, thread_name_prefix="gatewright-sqlite-reader")
        self._open = True

    async def close(self) -> None:
        """Finish the writes that wait, then stop the threads."""
        with self._closing:
            if not self._open:
                return
            self._open = False
            self._queue.put(None)
        writer, readers = self._writer, self._readers
        if writer is not None:
            await asyncio.to_thread(writer.join)
        if readers is not None:
            await asyncio.to_thread(readers.shutdown)
        for connection in self._reader_connections:
            connection.close()
        self._reader_connections.clear()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a write transaction and return its result once it is committed.

        Raises:
            StoreUnavailableError: another process held the file too long, or the store is closed.
            StorageError: the disk is full (``STORAGE_FULL``, 507) or the file is damaged.
        """
        return await self.start_write(work, asyncio.get_running_loop())

    def start_write(
        self, work: Callable[[sqlite3.Connection], T], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[T]:
        """Queue a write without waiting; see :meth:`write`. The future resolves after the commit."""
        future: asyncio.Future[T] = loop.create_future()
        with self._closing:
            if not self._open:
                raise StoreUnavailableError("The store is closed. Call initialize() first.", code="STORE_CLOSED")
            self._queue.put((work, future, loop))
        return future

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on a reader; it sees all that was committed before."""
        if self.in_memory:
            return await self.write(work)
        readers = self._readers
        if readers is None or not self._open:
            raise StoreUnavailableError("The store is closed. Call initialize() first.", code="STORE_CLOSED")
        return await asyncio.get_running_loop().run_in_executor(readers, self._read, work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self.connect()
                self._reader_connections.append(connection)
            return work(connection)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    # --- the writer thread --------------------------------------------------------------------------------------

    def _write_loop(self, prepare: Callable[[sqlite3.Connection], None], ready: Future[None]) -> None:
        try:
            connection = self.connect()
            prepare(connection)
        except BaseException as error:
            ready.set_exception(translate(error, self.path) if isinstance(error, sqlite3.Error) else error)
            return
        ready.set_result(None)
        while True:
            first = self._queue.get()
            if first is None:
                break
            group, stop = self._gather(first)
            self._commit(connection, group)
            if stop:
                break
        connection.close()

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        group = [first]
        while len(group) < GROUP_LIMIT:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return group, True
            group.append(following)
        return group, False

    def _commit(self, connection: sqlite3.Connection, group: list[_Write]) -> None:
        done: list[_Done] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write in group:
                done.append((write, *self._attempt(connection, write)))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = translate(error, self.path)
            done = [(write, None, failure) for write in group]
        _answer(done)

    def _attempt(self, connection: sqlite3.Connection, write: _Write) -> tuple[Any, BaseException | None]:
        """Run one write in a savepoint. A fault of the whole transaction (disk full) is raised, not returned."""
        connection.execute("SAVEPOINT one")
        try:
            result = write[0](connection)
        except sqlite3.Error as error:
            if not connection.in_transaction or _ends_transaction(error):
                raise
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            return None, translate(error, self.path)
        except BaseException as error:
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            return None, error
        connection.execute("RELEASE one")
        return result, None


def _answer(done: list[_Done]) -> None:
    """Resolve the writes of a group. Each event loop is woken once, however many of its coroutines wait."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Done]] = {}
    for one in done:
        by_loop.setdefault(one[0][2], []).append(one)
    for loop, own in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended; nothing awaits this anymore
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(done: list[_Done]) -> None:
    for (_, future, _), result, problem in done:
        if future.done():
            continue  # the caller was canceled; what was committed stays committed
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)


def _ends_transaction(error: sqlite3.Error) -> bool:
    """Whether the fault is of the file or the disk, so that the other writes of the group cannot continue either."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY"))


def translate(error: BaseException, path: str) -> StorageError:
    """The error of the tree that represents what SQLite said."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_FULL"):
        full = StorageError(f"The disk with {path} is full.", code="STORAGE_FULL", context={"path": path})
        full.http_status = 507
        full.recommended_action = "Free up disk space. Nothing was lost, and writes resume automatically."
        return full
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreUnavailableError("The store is busy. Try again shortly.", retry_after=1, context={"path": path})
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_PERM")):
        return StoreUnavailableError(
            f"The store at {path} cannot be used: {error}.", retry_after=5, context={"path": path, "sqlite": code}
        )
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StorageError(
            f"{path} is not an intact SQLite database: {error}.",
            code="STORAGE_DAMAGED",
            context={"path": path, "sqlite": code},
            recommended_action="Restore the file from a backup; Gatewright does not overwrite it.",
        )
    return StorageError(f"The store reported an error: {error}.", context={"path": path, "sqlite": code})
