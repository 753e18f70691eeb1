"""How long a decision of one worker takes until another process honours it, over SQLite alone and with Redis.

A revoked session, an ended API key and a lowered tier, thirty times each: the other process asks every two
milliseconds. Both read the machine's one monotonic clock. Target: within a second, always.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.support.redis import RedisServer

from gatewright.errors import SecurityError
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings

ROUNDS = 30
TARGET = 1.0
PASSWORD = "gravel-otter-lantern-4471"
KEYS = {"secret_key": "8f1c03b7a955e2d64f21" * 4, "encryption_key": "51aac7d20e9fb34618ac" * 4}

Act = Callable[[], Awaitable[Any]]


def settings(directory: str, redis_url: str | None) -> Settings:
    """The same for both processes; hashing is cheap, since it is not measured here."""
    return Settings(
        data_dir=Path(directory), durable=False, redis_url=redis_url, argon2_memory_kib=8, argon2_time_cost=1, **KEYS
    )


async def _allowed(worker: SecurityFoundation, kind: str, subject: str) -> bool:
    try:
        if kind == "session":
            await worker.auth.validate_token(subject)
        elif kind == "API key":
            await worker.auth.verify_api_key(subject)
        else:
            return await worker.rbac.has_permission(subject, "bulk_operations")
    except SecurityError:
        return False
    return True


async def _watch(pipe: Connection, directory: str, redis_url: str | None) -> None:
    """Say when each subject is known here, and when it is refused."""
    loop = asyncio.get_running_loop()
    async with SecurityFoundation(settings(directory, redis_url), notifier=MemoryNotifier()) as worker:
        while order := await loop.run_in_executor(None, pipe.recv):
            pipe.send(await _allowed(worker, *order))
            while await _allowed(worker, *order):  # noqa: ASYNC110 - what arrives is the word of another process
                await asyncio.sleep(0.002)
            pipe.send(time.monotonic())


def _process(pipe: Connection, directory: str, redis_url: str | None) -> None:
    asyncio.run(_watch(pipe, directory, redis_url))


async def _subjects(one: SecurityFoundation, number: int) -> list[tuple[str, str, Act]]:
    """What is allowed at first, and the decision that ends it."""
    email = f"{number}@example.com"
    data = {"email": email, "password": PASSWORD, "company_name": "Alder Works", "tier": "enterprise"}
    account = await one.auth.register_manufacturer(data)
    who = account.manufacturer_id
    signed_in = await one.auth.authenticate_manufacturer(email, PASSWORD)
    key = await one.auth.create_api_key(who, "server", permissions=["api_access"], account_id=account.account_id)
    return [
        ("session", signed_in.access_token or "", lambda: one.auth.invalidate_session(signed_in.session_id or "")),
        ("API key", key.key or "", lambda: one.auth.revoke_api_key(key.key_id)),
        ("tier", who, lambda: one.rbac.update_manufacturer_tier(who, "free", reason="contract ended")),
    ]


async def measure(redis_url: str | None) -> dict[str, list[float]]:
    """Seconds of every round, by what was decided."""
    loop, context = asyncio.get_running_loop(), multiprocessing.get_context("spawn")
    spent: dict[str, list[float]] = {"session": [], "API key": [], "tier": []}
    with tempfile.TemporaryDirectory() as directory:
        async with SecurityFoundation(settings(directory, redis_url), notifier=MemoryNotifier()) as one:
            here, there = context.Pipe()
            process = context.Process(target=_process, args=(there, directory, redis_url))
            process.start()
            for number in range(ROUNDS):
                for kind, subject, act in await _subjects(one, number):
                    here.send((kind, subject))
                    if not await loop.run_in_executor(None, here.recv):
                        raise RuntimeError(f"{kind}: the other worker refuses it from the start")
                    begin = time.monotonic()
                    await act()
                    spent[kind].append(await loop.run_in_executor(None, here.recv) - begin)
            here.send(None)
            await loop.run_in_executor(None, process.join)
    return spent


@contextlib.contextmanager
def _redis() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        server.start()
        try:
            yield server.url
        finally:
            server.kill()


def main() -> int:
    """Measure and print; 1 where a decision took longer than a second."""
    worst = 0.0
    with _redis() as url:
        for name, redis_url in (("SQLite", None), ("SQLite and Redis", url)):
            for kind, seconds in asyncio.run(measure(redis_url)).items():
                worst = max(worst, *seconds)
                middle, last = statistics.median(seconds) * 1e3, max(seconds) * 1e3
                print(f"{name:<17} {kind:<8} p50 {middle:6.1f} ms   worst of {ROUNDS} {last:6.1f} ms")
    print(f"target: all within {TARGET:.0f} s")
    return 0 if worst <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
