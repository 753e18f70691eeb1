"""Sign-in: whether the time tells who is known, and what fifty logins at once do to the loop and the cores.

Prints one line of JSON a figure. Run: ``python -m bench.signin``.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import math
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher

from gatewright.auth import AccessOptions, Argon2Parameters, AuthOptions, ManufacturerAuthManager
from gatewright.errors import InvalidCredentialsError
from gatewright.storage import AttemptPolicy

ATTEMPTS = 1_000
LOGINS = 50
ROUNDS = 3
PASSWORD = "Xylophone-river-42"
TIMED = Argon2Parameters(time_cost=1, memory_kib=1_024)
"""Cheaper than in production: a difference of the rest of the work shows the more."""


async def failing(auth: ManufacturerAuthManager, email: str) -> float:
    """Seconds that one refused sign-in takes."""
    begin = time.perf_counter()
    try:
        await auth.authenticate_manufacturer(email, "not the password")
    except InvalidCredentialsError:
        return time.perf_counter() - begin
    raise AssertionError("the sign-in was not refused as invalid")


def rank_test(one: list[float], other: list[float]) -> float:
    """The two-sided p of the Mann-Whitney U test, by its normal approximation."""
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    ranks = sum(place + 1 for place, (_, group) in enumerate(ranked) if group == 0)
    n, m = len(one), len(other)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


async def timing() -> None:
    """Unknown address against wrong password, interleaved in random order; each address is tried once."""
    patient = AttemptPolicy(free=10**6, limit=10**6)
    options = AccessOptions(argon2=TIMED, password_attempts=patient)
    async with ManufacturerAuthManager(options=AuthOptions(access=options)) as auth:
        for number in range(ATTEMPTS):
            await auth.register_manufacturer(
                {"email": f"known{number:04d}@bench.example", "password": PASSWORD, "company_name": "Bench"}
            )
        for number in range(50):
            await failing(auth, f"warm{number:04d}@bench.example")
        tries = [(kind, number) for number in range(ATTEMPTS) for kind in ("known", "other")]
        random.Random(7).shuffle(tries)
        seconds: dict[str, list[float]] = {"known": [], "other": []}
        for kind, number in tries:
            seconds[kind].append(await failing(auth, f"{kind}{number:04d}@bench.example"))
    known, other = statistics.median(seconds["known"]), statistics.median(seconds["other"])
    difference, p = abs(known - other) / known, rank_test(seconds["known"], seconds["other"])
    row = {
        "figure": "unknown address against wrong password",
        "attempts_each": ATTEMPTS,
        "median_us": {"wrong_password": round(known * 1e6), "unknown_address": round(other * 1e6)},
        "difference": round(difference, 4),
        "rank_test_p": round(p, 3),
    }
    print(json.dumps({**row, "target": "difference <= 0.03, p > 0.01", "met": difference <= 0.03 and p > 0.01}))


def bare() -> float:
    """Verifications a second of argon2-cffi by itself on all cores, with the same parameters."""
    hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
    made = hasher.hash(PASSWORD)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda _: hasher.verify(made, PASSWORD), range(4)))
        begin = time.perf_counter()
        list(pool.map(lambda _: hasher.verify(made, PASSWORD), range(LOGINS)))
        return LOGINS / (time.perf_counter() - begin)


async def lags(until: asyncio.Future[object], found: list[float]) -> None:
    """How much later than asked the loop wakes a task, while something else is continuing."""
    while not until.done():
        begin = time.perf_counter()
        await asyncio.sleep(0.001)
        found.append(time.perf_counter() - begin - 0.001)


async def crowd() -> None:
    """Fifty logins at once, with the parameters of production."""
    async with ManufacturerAuthManager() as auth:
        emails = [f"user{number:02d}@bench.example" for number in range(LOGINS)]
        for email in emails:
            await auth.register_manufacturer({"email": email, "password": PASSWORD, "company_name": "Bench"})
        await auth.authenticate_manufacturer(emails[0], PASSWORD)
        rates, peers, found = [], [], []
        for _ in range(ROUNDS):  # interleaved, so that both see the same machine
            peers.append(await asyncio.to_thread(bare))
            begin = time.perf_counter()
            logins = asyncio.gather(*(auth.authenticate_manufacturer(email, PASSWORD) for email in emails))
            await lags(logins, found)
            await logins
            rates.append(LOGINS / (time.perf_counter() - begin))
    lag = sorted(found)[int(len(found) * 0.99)] * 1e3
    print(
        json.dumps(
            {"figure": "event-loop lag p99, 50 logins at once", "ms": round(lag, 2), "target": 10, "met": lag <= 10}
        )
    )
    ratio = statistics.median(rate / peer for rate, peer in zip(rates, peers, strict=True))
    row = {
        "figure": "logins a second, 50 at once",
        "peer": f"argon2-cffi {importlib.metadata.version('argon2-cffi')}",
        "ours": round(statistics.median(rates), 1),
        "theirs": round(statistics.median(peers), 1),
        "ratio": round(ratio, 3),
    }
    print(json.dumps({**row, "target": 0.9, "met": ratio >= 0.9}))


if __name__ == "__main__":
    asyncio.run(timing())
    asyncio.run(crowd())
