"""Quota take: on SQLite, durable, 64 tasks, against one ``sqlite3`` transaction a call. Microseconds a take."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.storage import SqliteStore

TASKS, EACH, ROUNDS = 64, 60, 5
TARGET = 8.0


def one_transaction_a_call(path: Path, count: int) -> float:
    """The plain way: read, decide and write in a transaction of its own, ``synchronous=FULL``."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS usage (id TEXT, resource TEXT, used INTEGER, PRIMARY KEY (id, resource))"
    )
    connection.execute("INSERT OR REPLACE INTO usage VALUES ('m', 'api_calls', 0)")
    begin = time.perf_counter()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        used = connection.execute("SELECT used FROM usage WHERE id = 'm' AND resource = 'api_calls'").fetchone()[0]
        if used < 100_000_000:
            connection.execute("UPDATE usage SET used = used + 1 WHERE id = 'm' AND resource = 'api_calls'")
        connection.execute("COMMIT")
    spent = time.perf_counter() - begin
    connection.close()
    return spent / count * 1e6


async def ours(rbac: ManufacturerRBACManager) -> float:
    """64 tasks, each taking one unit after the other, of eight manufacturers."""
    contexts = [ManufacturerContext(f"m{n % 8}", "C", "e", "enterprise") for n in range(TASKS)]

    async def task(context: ManufacturerContext) -> None:
        for _ in range(EACH):
            await rbac.check_usage_limit(context, "product_uploads", 1)

    begin = time.perf_counter()
    await asyncio.gather(*map(task, contexts))
    return (time.perf_counter() - begin) / (TASKS * EACH) * 1e6


async def main() -> int:
    with tempfile.TemporaryDirectory(dir=".") as directory:  # on the disk, not in memory
        plain_us, ours_us = [], []
        async with SqliteStore(Path(directory) / "ours.db") as store, ManufacturerRBACManager(store=store) as rbac:
            await ours(rbac)
            for _ in range(ROUNDS):
                plain_us.append(one_transaction_a_call(Path(directory) / "plain.db", 500))
                ours_us.append(await ours(rbac))
            taken = await rbac.get_current_usage(ManufacturerContext("m0", "C", "e", "enterprise"), "product_uploads")
            assert taken == TASKS // 8 * EACH * (ROUNDS + 1), "every take was counted"
    plain, own = statistics.median(plain_us), statistics.median(ours_us)
    ratio = plain / own
    print(f"gatewright, 64 tasks, durable             {own:8.1f} us a take")
    name = f"sqlite3 {sqlite3.sqlite_version}, a transaction a call"
    print(f"{name:<40}  {plain:8.1f} us   {ratio:5.1f} x (target >= {TARGET:.0f} x)")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
