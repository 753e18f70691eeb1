"""Tests of the SQLite engine: group commits, isolated failures, and several processes on one file."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest

from gatewright.errors import DuplicateAccountError, StorageError, StoreUnavailableError
from gatewright.storage import SqliteEngine, SqliteStore, available, migrate, translate
from tests.contract.test_tenants import account, manufacturer
from tests.support.waiting import PATIENCE


def table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY) STRICT")


def insert(number: int | str):
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", (number,)).rowcount


@pytest.fixture(params=["memory", "file"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path):
    opened = SqliteEngine(":memory:" if request.param == "memory" else tmp_path / "e.db", durable=False)
    await opened.open(table)
    yield opened
    await opened.close()


async def test_failed_write_does_not_affect_others_in_its_group(engine: SqliteEngine) -> None:
    async def attempt(number: int) -> bool:
        try:
            await engine.write(insert(number % 10))
        except StorageError:
            return False
        return True

    won = await asyncio.gather(*(attempt(n) for n in range(40)))
    assert sum(won) == 10
    assert await engine.read(lambda c: c.execute("SELECT count(*) FROM t").fetchone()[0]) == 10


async def test_error_in_a_write_reaches_its_caller_and_rolls_back(engine: SqliteEngine) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (1)")
        raise DuplicateAccountError("taken")

    with pytest.raises(DuplicateAccountError):
        await engine.write(half)
    assert await engine.read(lambda c: c.execute("SELECT count(*) FROM t").fetchone()[0]) == 0


async def test_close_finishes_pending_writes_and_rejects_new_ones(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "e.db", durable=False)
    await engine.open(table)
    await engine.open(table)
    loop = asyncio.get_running_loop()
    waiting = [engine.start_write(insert(n), loop) for n in range(100)]
    await engine.close()
    await engine.close()
    assert await asyncio.gather(*waiting) == [1] * 100
    with pytest.raises(StoreUnavailableError) as refused:
        await engine.write(insert(1))
    assert refused.value.code == "STORE_CLOSED"
    with pytest.raises(StoreUnavailableError):
        await engine.read(lambda c: None)


async def test_engine_survives_a_cancelled_caller(engine: SqliteEngine) -> None:
    go = threading.Event()
    blocked = asyncio.ensure_future(engine.write(lambda c: go.wait(5)))
    task = asyncio.ensure_future(engine.write(insert(1)))
    await asyncio.sleep(0.01)
    task.cancel()
    go.set()
    await blocked
    assert await engine.write(insert(2)) == 1


@pytest.mark.parametrize(
    ("name", "kind", "code", "status"),
    [
        ("SQLITE_FULL", StorageError, "STORAGE_FULL", 507),
        ("SQLITE_BUSY", StoreUnavailableError, "STORE_UNAVAILABLE", 503),
        ("SQLITE_LOCKED_SHAREDCACHE", StoreUnavailableError, "STORE_UNAVAILABLE", 503),
        ("SQLITE_CANTOPEN", StoreUnavailableError, "STORE_UNAVAILABLE", 503),
        ("SQLITE_IOERR_WRITE", StoreUnavailableError, "STORE_UNAVAILABLE", 503),
        ("SQLITE_CORRUPT", StorageError, "STORAGE_DAMAGED", 500),
        ("SQLITE_ERROR", StorageError, "STORAGE_FAILED", 500),
    ],
)
def test_sqlite_errors_are_translated(name: str, kind: type[StorageError], code: str, status: int) -> None:
    error = sqlite3.OperationalError("said")
    error.sqlite_errorname = name
    translated = translate(error, "x.db")
    assert type(translated) is kind
    assert (translated.code, translated.http_status) == (code, status)


async def test_full_disk_returns_507_and_writes_resume(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "e.db", durable=False)
    await engine.open(table)
    numbers = "WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g LIMIT 50000) SELECT n FROM g"
    big = f"INSERT INTO t {numbers}"
    pages = await engine.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await engine.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone()[0])
    with pytest.raises(StorageError) as full:
        await engine.write(lambda c: c.execute(big).rowcount)
    assert full.value.http_status == 507
    await engine.write(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone()[0])
    assert await engine.write(insert(7)) == 1
    await engine.close()


async def test_file_that_is_not_a_database_is_rejected_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes " * 100)
    before = path.read_bytes()
    with pytest.raises(StorageError) as damaged:
        await SqliteStore(path).initialize()
    assert damaged.value.code == "STORAGE_DAMAGED"
    assert path.read_bytes() == before


async def test_newer_schema_is_rejected(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db", durable=False) as store:
        await store.engine.write(
            lambda c: c.execute("INSERT INTO schema_migrations (number, name) VALUES (9999, 'later')").rowcount
        )
    with pytest.raises(StorageError) as newer:
        await SqliteStore(tmp_path / "s.db").initialize()
    assert newer.value.code == "STORE_TOO_NEW"


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    connection = SqliteEngine(tmp_path / "m.db").connect()
    assert migrate(connection) == [name for name, _ in available().values()]
    assert migrate(connection) == []
    connection.close()


def test_failed_migration_leaves_the_schema_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = SqliteEngine(tmp_path / "m.db").connect()
    broken = {1: ("m0001_good", "CREATE TABLE good (n);"), 2: ("m0002_bad", "CREATE TABLE good (n);")}
    monkeypatch.setattr("gatewright.storage.sqlite.migrations.available", lambda: broken)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'good'").fetchone()[0]
    assert tables == 0
    connection.close()


# --- several processes ------------------------------------------------------------------------------------------


def _register(path: str, process: int, tasks: int, results: multiprocessing.SimpleQueue) -> None:
    async def one(store: SqliteStore, task: int) -> bool:
        number = 1 + process * tasks + task
        try:
            await store.create_manufacturer(manufacturer(number), account(number, email="wanted@example.com"))
        except DuplicateAccountError:
            return False
        return True

    async def all_tasks() -> int:
        async with SqliteStore(path) as store:
            return sum(await asyncio.gather(*(one(store, task) for task in range(tasks))))

    results.put(asyncio.run(all_tasks()))


async def test_one_of_200_concurrent_registrations_gets_the_address(tmp_path: Path) -> None:
    path = str(tmp_path / "race.db")
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=_register, args=(path, n, 50, results)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join)
    assert [p.exitcode for p in processes] == [0, 0, 0, 0]
    assert sum(results.get() for _ in processes) == 1
    async with SqliteStore(path) as store:
        assert len(await store.list_manufacturers()) == 1


async def test_change_reaches_another_store_on_the_same_file(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db", durable=False) as here:
        await here.create_manufacturer(manufacturer(), account())
        async with SqliteStore(tmp_path / "s.db", durable=False, poll_interval=0.01) as there:
            received = asyncio.Event()
            there.changes.subscribe("manufacturer", lambda key: received.set() if key == "mfr_001" else None)
            await here.update_manufacturer("mfr_001", tier="enterprise")
            await asyncio.wait_for(received.wait(), PATIENCE)


async def test_old_changes_are_pruned(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "s.db", durable=False) as store:

        def many(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO changes (origin, topic, key, at) VALUES ('x', 't', 'old', 1.0)")
            for _ in range(500):
                store.poll.record(connection, "t", "new")

        await store.engine.write(many)
        left = await store.engine.read(
            lambda c: c.execute("SELECT count(*) FROM changes WHERE key='old'").fetchone()[0]
        )
        assert left == 0
        store.poll.poll_once()
