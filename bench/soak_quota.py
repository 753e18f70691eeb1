"""Soak: four processes of a hundred tasks take and refund random amounts of one quota while the tier changes and one
of them is killed with SIGKILL; what is granted never passes the limit, and nothing granted is lost.

python -m bench.soak_quota [--rounds 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.storage.sqlite.store import SqliteStore

PROCESSES = 4
LIMITS = {"free": 1_000, "professional": 10_000}


def worker(path: str, log: str, who: str, seed: int, tasks: int) -> None:
    """Take and refund, and write down each grant after, and each refund before it is asked for."""
    asyncio.run(_work(path, log, who, seed, tasks))


async def _work(path: str, log: str, who: str, seed: int, tasks: int) -> None:
    chance = random.Random(seed)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    context = ManufacturerContext(who, "C", "e", "free")
    async with SqliteStore(path, durable=False) as store, ManufacturerRBACManager(store=store) as rbac:

        async def task(number: int) -> None:
            for _ in range(4):
                amount = chance.randint(1, 9)
                if (await rbac.check_usage_limit(context, "api_calls", amount)).allowed:
                    os.write(out, f"+{amount}\n".encode())
                    if chance.random() < 0.2:
                        os.write(out, f"-{amount}\n".encode())
                        await rbac.refund_usage(who, "api_calls", amount)
            if number % 50 == 0:
                tier = chance.choice(["professional", "free", "free"])
                await rbac.update_manufacturer_tier(who, tier, reason="soak")

        await asyncio.gather(*(task(number) for number in range(tasks)))
    os.close(out)


async def _settle(path: str, who: str) -> tuple[int, int]:
    """What is used, and what is used once a free tier has taken all that it can."""
    async with SqliteStore(path, durable=False) as store, ManufacturerRBACManager(store=store) as rbac:
        before = await rbac.get_current_usage(who, "api_calls")
        await rbac.update_manufacturer_tier(who, "free", reason="soak")
        while (await rbac.check_usage_limit(who, "api_calls", 1)).allowed:
            pass
        return before, await rbac.get_current_usage(who, "api_calls")


def one_round(directory: Path, number: int, *, tasks: int = 100, ever_professional: int = 10_000) -> str | None:
    """One round; None, or what went wrong."""
    context: Any = multiprocessing.get_context("spawn")
    chance, who, path = random.Random(number), f"m{number}", str(directory / "soak.db")
    logs = [str(directory / f"{number}-{n}.log") for n in range(PROCESSES)]
    processes = [
        context.Process(target=worker, args=(path, logs[n], who, number * 10 + n, tasks)) for n in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    victim = processes[chance.randrange(PROCESSES)]
    end = time.monotonic() + 10
    while not any(os.path.exists(log) and os.path.getsize(log) for log in logs) and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(chance.random() * 0.1)
    victim.kill()
    for process in processes:
        process.join(60)
    if any(p.exitcode != 0 for p in processes if p is not victim):
        return f"round {number}: a worker failed, exit codes {[p.exitcode for p in processes]}"
    lines = [int(line) for log in logs if os.path.exists(log) for line in Path(log).read_text().split()]
    granted, refunded = sum(n for n in lines if n > 0), -sum(n for n in lines if n < 0)
    used, full = asyncio.run(_settle(path, who))
    if not granted - refunded <= used <= ever_professional:
        return f"round {number}: {granted} granted, {refunded} refunded, but {used} counted"
    if full != max(used, LIMITS["free"]):
        return f"round {number}: full at {full} after {used}"
    for log in logs:
        Path(log).unlink(missing_ok=True)
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1_000)
    rounds = parser.parse_args().rounds
    report = Path("reports") / f"soak-quota-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    report.parent.mkdir(exist_ok=True)
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        begin = time.monotonic()
        for number in range(rounds):
            if (problem := one_round(Path(directory), number)) is not None:
                failures.append(problem)
                print(problem, flush=True)
            if number % 50 == 49:
                print(f"{number + 1} rounds, {len(failures)} failures, {time.monotonic() - begin:.0f} s", flush=True)
    text = f"{rounds} rounds of {PROCESSES} processes, one killed in each: {len(failures)} failures\n"
    report.write_text(text + "\n".join(failures))
    print(text, end="")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
