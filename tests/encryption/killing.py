"""Re-encryption that is killed at random and resumed, with concurrent writers and readers.

Moments to kill at are drawn one from each equal part of the run, so that they are spread over the whole of it. The
same story with tasks of one process (quick) and with processes that get SIGKILL (the soak runs it at length).

    python -m tests.encryption.killing FOLDER [RECORD]     the process that is killed (by itself, at RECORD)
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewright.encryption import Envelope, ManufacturerEncryptionManager, SourceRecord
from gatewright.storage import SqliteStore

Manager = ManufacturerEncryptionManager
ROOT = bytes(range(32))
OWNERS = 7


class Table:
    """Records in SQLite, as an application would keep them. ``position`` is the last record that was written again."""

    name = "table"

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")  # a process that dies loses nothing by that
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, envelope TEXT) WITHOUT ROWID"
        )
        self.position = -1

    def put(self, record_id: str, envelope: Envelope) -> None:
        self._connection.execute("REPLACE INTO records VALUES (?, ?)", (record_id, json.dumps(envelope)))

    def put_all(self, envelopes: dict[str, Envelope]) -> None:
        self._connection.execute("BEGIN")
        for record_id, envelope in envelopes.items():
            self.put(record_id, envelope)
        self._connection.execute("COMMIT")

    def get(self, record_id: str) -> Envelope:
        row = self._connection.execute("SELECT envelope FROM records WHERE id = ?", (record_id,)).fetchone()
        return dict(json.loads(row[0]))

    def all(self) -> dict[str, Envelope]:
        return {key: json.loads(text) for key, text in self._connection.execute("SELECT * FROM records ORDER BY id")}

    def close(self) -> None:
        self._connection.close()

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        rows = self._connection.execute(
            "SELECT id, envelope FROM records WHERE id > ? ORDER BY id LIMIT ?", (after or "", limit)
        ).fetchall()
        await asyncio.sleep(0)
        return [SourceRecord(record_id=key, envelope=json.loads(text)) for key, text in rows]

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        await asyncio.sleep(0)
        self.position = int(record_id)
        won = self._connection.execute(
            "UPDATE records SET envelope = ? WHERE id = ? AND envelope = ?",
            (json.dumps(envelope), record_id, json.dumps(expected)),
        ).rowcount
        return won == 1


async def filled(manager: Manager, count: int, table: Table | None = None) -> Table:
    """A table of ``count`` records of seven manufacturers."""
    table = table or Table()
    made = {}
    for number in range(count):
        made[name_of(number)] = await manager.encrypt_manufacturer_data(
            {"n": number}, manufacturer_id=f"m{number % OWNERS}"
        )
    table.put_all(made)
    return table


def name_of(number: int) -> str:
    return f"{number:06d}"


def moments(chance: random.Random, records: int, kills: int) -> list[int]:
    """One record out of each of ``kills`` equal parts of them, in order."""
    return [int((part + chance.random()) / kills * records) for part in range(kills)]


class Traffic:
    """Writes and reads of an application. Its last write must be found at the end."""

    def __init__(self, table: Table, records: int, chance: random.Random) -> None:
        self._table = table
        self._chance = chance
        self.expected: dict[str, Any] = {name_of(number): {"n": number} for number in range(records)}
        self.writes = self.reads = 0

    async def step(self, manager: Manager) -> None:
        """Write one record and read another."""
        number = self._chance.randrange(len(self.expected))
        key, value = name_of(number), {"n": number, "changed": self._chance.random()}
        self._table.put(key, await manager.encrypt_manufacturer_data(value, manufacturer_id=f"m{number % OWNERS}"))
        self.expected[key] = value
        self.writes += 1
        key = name_of(self._chance.randrange(len(self.expected)))
        envelope = self._table.get(key)
        assert await manager.decrypt_manufacturer_data(envelope) == self.expected[key], "readable at every moment"
        self.reads += 1

    async def check_all(self, manager: Manager) -> set[int]:
        """Every record is there, opens, and is what was written last; the key versions that are in use."""
        found = self._table.all()
        assert found.keys() == self.expected.keys()
        for key, envelope in found.items():
            assert await manager.decrypt_manufacturer_data(envelope) == self.expected[key], key
        self.reads += len(found)
        return {envelope["encryption_metadata"]["key_version"] for envelope in found.values()}


async def killed_tasks(folder: Path, *, records: int, kills: int, seed: int) -> list[float]:
    """The story with tasks, each with a manager of its own; where they were killed, as parts of the whole."""
    chance = random.Random(seed)
    killed_at: list[float] = []
    async with SqliteStore(folder / "keys.db", durable=False) as store:
        async with Manager(ROOT, store=store) as manager:
            table = await filled(manager, records, Table(folder / "records.db"))
            await manager.rotate_encryption_key()
        traffic = Traffic(table, records, chance)
        for moment in moments(chance, records, kills):
            async with Manager(ROOT, store=store) as manager:
                run = asyncio.create_task(manager.reencrypt_all(table, batch_size=20))
                while table.position < moment and not run.done():
                    await traffic.step(manager)
                    await asyncio.sleep(0)
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
                killed_at.append(table.position / records)
                await traffic.check_all(manager)
        async with Manager(ROOT, store=store) as manager:
            run = asyncio.create_task(manager.reencrypt_all(table, batch_size=20))
            while not run.done():
                await traffic.step(manager)
                await asyncio.sleep(0)
            (report,) = await run
            assert report.finished and not report.failed
            assert await traffic.check_all(manager) == {2}, "nothing is left under the old key"
    table.close()
    return killed_at


class DoomedTable(Table):
    """A table whose process gets SIGKILL at a record, before or after the record is written."""

    def __init__(self, path: Path, doomed_at: int) -> None:
        super().__init__(path)
        self._doomed_at = doomed_at

    async def page(self, after: str | None, limit: int) -> Sequence[SourceRecord]:
        self._die(-1 if after is None else int(after))
        return await super().page(after, limit)

    async def replace(self, record_id: str, expected: Envelope, envelope: Envelope) -> bool:
        if self._doomed_at % 2:
            self._die(int(record_id))
        written = await super().replace(record_id, expected, envelope)
        self._die(int(record_id))
        return written

    def _die(self, position: int) -> None:
        if position >= self._doomed_at:
            os.kill(os.getpid(), signal.SIGKILL)


async def killed_processes(
    folder: Path, *, records: int, kills: int, seed: int, from_outside: bool = False
) -> dict[str, Any]:
    """The story with processes that get SIGKILL; what was done, and where they were killed.

    Args:
        from_outside: whether we kill them, at whatever they do at a moment. That takes records enough that no
            process ends before we see how far it is; else it is the process itself, at the record we say.
    """
    chance = random.Random(seed)
    async with SqliteStore(folder / "keys.db") as store, Manager(ROOT, store=store) as manager:
        table = await filled(manager, records, Table(folder / "records.db"))
        await manager.rotate_encryption_key()
        traffic = Traffic(table, records, chance)
        killed_at, scanned = [], 0
        for moment in moments(chance, records, kills):
            worker, reached = await _started(folder, *([] if from_outside else [moment])), moment
            while worker.returncode is None:
                await traffic.step(manager)
                await asyncio.sleep(0.001)
                if from_outside and (reached := await _cursor(store)) >= moment:
                    await asyncio.sleep(chance.random() * 0.05)  # somewhere within a page
                    worker.kill()
                    await worker.wait()
            assert worker.returncode == -signal.SIGKILL, "it was killed, and had not ended"
            progress = await store.get_reencryption(table.name)
            assert progress is None or (progress.finished_at is None and progress.scanned >= scanned)
            scanned = progress.scanned if progress else 0
            killed_at.append(round(reached / records, 3))
            await traffic.check_all(manager)
        worker = await _started(folder)
        while worker.returncode is None:
            await traffic.step(manager)
            await asyncio.sleep(0.001)
        assert worker.returncode == 0 and worker.stdout is not None
        report = json.loads(await worker.stdout.read())
        assert report["finished"] and not report["failed"]
        assert await traffic.check_all(manager) == {2}, "nothing is left under the old key"
    table.close()
    return {
        "records": records,
        "killed_at": killed_at,
        "writes": traffic.writes,
        "reads": traffic.reads,
        "scanned": report["scanned"],
        "reencrypted": report["reencrypted"],
    }


async def _started(folder: Path, *doomed_at: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.encryption.killing", str(folder), *map(str, doomed_at)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=os.environ.copy(),
    )


async def _cursor(store: SqliteStore) -> int:
    """The last record that is done for certain; -1 at the beginning, and between two passes."""
    progress = await store.get_reencryption(Table.name)
    return -1 if progress is None or progress.cursor is None else int(progress.cursor)


async def _reencrypt(folder: Path, doomed_at: int | None = None) -> None:
    """What the process does that is killed."""
    path = folder / "records.db"
    table = Table(path) if doomed_at is None else DoomedTable(path, doomed_at)
    async with SqliteStore(folder / "keys.db") as store, Manager(ROOT, store=store) as manager:
        (report,) = await manager.reencrypt_all(table, batch_size=100)
    print(json.dumps(report.to_dict(), default=str))


if __name__ == "__main__":
    asyncio.run(_reencrypt(Path(sys.argv[1]), *map(int, sys.argv[2:])))
