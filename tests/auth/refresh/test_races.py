"""One refresh token, four processes: different clients get it once at most, the same client converges.

``GATEWRIGHT_TEST_ROUNDS=200`` runs the full number of rounds; the suite runs a few.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gatewright.auth import ClientInfo, ManufacturerAuthManager
from gatewright.errors import RefreshTokenReuseError, SecurityError, TokenRevokedError
from gatewright.storage import SqliteStore
from tests.auth.identity import CHROME, HOME, SECRET, sign_in

PROCESSES = 4
ROUNDS = int(os.environ.get("GATEWRIGHT_TEST_ROUNDS", "20"))

Outcome = tuple[int, int, str]
"""Round, process, and the successor or the name of the error."""


def compete(path: str, tokens: list[str], number: int, same: bool, start: Barrier, answers: Queue[Outcome]) -> None:
    """One process: presents each token at the same moment as the others do."""
    client = HOME if same else ClientInfo(f"203.0.{number}.9", CHROME)

    async def run() -> None:
        async with SqliteStore(path, durable=False) as store, ManufacturerAuthManager(SECRET, store=store) as auth:
            for index, token in enumerate(tokens):
                await asyncio.to_thread(start.wait, 60)
                try:
                    result = await auth.refresh_tokens(token, client=client)
                    outcome = result.refresh_token or ""
                except SecurityError as error:
                    outcome = type(error).__name__
                answers.put((index, number, outcome))

    asyncio.run(run())


def race(path: Path, tokens: list[str], *, same: bool) -> list[list[str]]:
    """The outcomes of each round, in the order of the processes."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(PROCESSES), context.Queue()
    workers = [
        context.Process(target=compete, args=(str(path), tokens, number, same, start, answers), daemon=True)
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    found: dict[tuple[int, int], str] = {}
    for _ in range(PROCESSES * len(tokens)):
        index, number, outcome = answers.get(timeout=120)
        found[index, number] = outcome
    for worker in workers:
        worker.join(30)
    return [[found[index, number] for number in range(PROCESSES)] for index in range(len(tokens))]


async def prepare(path: Path) -> list[str]:
    """As many sign-ins as there are rounds."""
    async with SqliteStore(path, durable=False) as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        return [(await sign_in(auth, f"r{number}")).refresh_token or "" for number in range(ROUNDS)]


async def sessions_alive(path: Path) -> int:
    async with SqliteStore(path, durable=False) as store, ManufacturerAuthManager(SECRET, store=store) as auth:
        return sum([len(await auth.list_sessions(f"mfr_r{number}")) for number in range(ROUNDS)])


@pytest.mark.slow
def test_different_clients(tmp_path: Path) -> None:
    """One success at most in each round; the others are reuse, and the session is over for all."""
    path = tmp_path / "race.db"
    refused = {RefreshTokenReuseError.__name__, TokenRevokedError.__name__}
    for outcomes in race(path, asyncio.run(prepare(path)), same=False):
        won = [outcome for outcome in outcomes if outcome.startswith("gwr_")]
        assert len(won) <= 1
        assert {outcome for outcome in outcomes if not outcome.startswith("gwr_")} <= refused
    assert asyncio.run(sessions_alive(path)) == 0


@pytest.mark.slow
def test_the_same_client(tmp_path: Path) -> None:
    """All four get one and the same successor, and the session lives on."""
    path = tmp_path / "race.db"
    for outcomes in race(path, asyncio.run(prepare(path)), same=True):
        assert len(set(outcomes)) == 1 and outcomes[0].startswith("gwr_"), outcomes
    assert asyncio.run(sessions_alive(path)) == ROUNDS
