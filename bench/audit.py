"""The audit log: durable appends (fsync before every answer), the whole way from emit, and verification.

Targets: 20,000 events a second appended, grouped and durable; 200,000 a second verified. The floor in the same
run is bare ``sqlite3`` inserting the same bodies in the same groups. Prints one line of JSON a figure.
Run: ``python -m bench.audit``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from gatewright.events import SecurityEvent, event
from gatewright.monitoring import HeadBinder, SecurityMonitor, entry_of
from gatewright.storage import SqliteStore

EVENTS = 40_000
ROUNDS = 5
TASKS = 64
GROUP = 500


def traffic(count: int) -> list[SecurityEvent]:
    """Events as a busy platform has them: mostly requests, some sign-ins, a few refusals."""
    random.seed(7)
    return [
        event(
            random.choices(["web:request:served", "auth:login:succeeded", "rbac:permission:denied"], [94, 5, 1])[0],
            manufacturer_id=f"mfr_{random.randrange(2000):08x}",
            account_id=f"acc_{random.randrange(4000):08x}",
            session_id=f"{random.randrange(1 << 128):032x}",
            ip_address=f"198.51.{random.randrange(256)}.{random.randrange(256)}",
            request_id=f"{random.randrange(1 << 64):016x}",
            method="POST",
            path="/v1/products",
            status=201,
            granted=["upload_products"],
        )
        for _ in range(count)
    ]


def bare_sqlite(path: Path, bodies: list[bytes]) -> float:
    """Inserts a second into one table without an index, one transaction a group, ``synchronous=FULL``."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (body BLOB)")
    begin = time.perf_counter()
    for at in range(0, len(bodies), GROUP):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO log VALUES (?)", [(body,) for body in bodies[at : at + GROUP]])
        connection.execute("COMMIT")
    seconds = time.perf_counter() - begin
    connection.close()
    return len(bodies) / seconds


async def appends(store: SqliteStore, events: list[SecurityEvent]) -> float:
    """Entries a second in groups, each answered after its commit."""
    entries = [entry_of(one) for one in events]
    binder = HeadBinder("gatewright/audit", bytes(32))
    gc.collect()
    begin = time.perf_counter()
    for at in range(0, len(entries), GROUP):
        await store.append_audit(entries[at : at + GROUP], binder)
    return len(events) / (time.perf_counter() - begin)


async def emitted(monitor: SecurityMonitor, events: list[SecurityEvent]) -> tuple[float, float]:
    """Events a second from emit to durable, by tasks that each emit and continue; and microseconds an emit takes."""
    spent = 0.0

    async def one(part: list[SecurityEvent]) -> None:
        nonlocal spent
        for at in range(0, len(part), 10):
            begin = time.perf_counter()
            for each in part[at : at + 10]:
                monitor.emit(each)
            spent += time.perf_counter() - begin
            await asyncio.sleep(0)

    gc.collect()
    begin = time.perf_counter()
    await asyncio.gather(*(one(events[n::TASKS]) for n in range(TASKS)))
    await monitor.flush()
    return len(events) / (time.perf_counter() - begin), spent / len(events) * 1e6


async def main() -> None:
    """Measure and print."""
    figures: dict[str, list[float]] = {"sqlite3": [], "append": [], "emit_to_disk": [], "emit_us": [], "verify": []}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        for number in range(ROUNDS):
            events = traffic(EVENTS)
            bodies = [entry_of(one).body for one in events]
            figures["sqlite3"].append(bare_sqlite(Path(directory, f"bare{number}.db"), bodies))
            async with SqliteStore(Path(directory, f"append{number}.db")) as store:
                figures["append"].append(await appends(store, events))
            async with (
                SqliteStore(Path(directory, f"emit{number}.db")) as store,
                SecurityMonitor(store, capacity=2 * EVENTS) as monitor,
            ):
                rate, cost = await emitted(monitor, events)
                figures["emit_to_disk"].append(rate)
                figures["emit_us"].append(cost)
                found = await monitor.audit.verify()
                if not found:
                    raise SystemExit(found.detail)
                figures["verify"].append(found.checked / found.seconds)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    base = medians["sqlite3"]
    print(json.dumps({"figure": f"bare sqlite3 {sqlite3.sqlite_version}, durable", "per_second": round(base)}))
    for name, target in (("append", 20_000), ("emit_to_disk", 20_000), ("verify", 200_000)):
        row = {"figure": f"audit {name}", "per_second": round(medians[name]), "ratio": round(medians[name] / base, 2)}
        print(json.dumps({**row, "target": target, "met": medians[name] >= target}))
    print(json.dumps({"figure": "audit emit", "us": round(medians["emit_us"], 2)}))


if __name__ == "__main__":
    asyncio.run(main())
