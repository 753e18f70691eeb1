"""A failure of the service never counts as a wrong password: memory, a full queue, a closed store, a cancel."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gatewright.auth import AccessOptions, Argon2Parameters, AttemptLimiter, AttemptSubject, PasswordHashing
from gatewright.errors import (
    AccountLockedError,
    EncryptionError,
    InvalidCredentialsError,
    RateLimitExceededError,
    SecurityError,
    StorageError,
    StoreUnavailableError,
)
from gatewright.storage import SqliteStore
from tests.auth.access import CHEAP, EMAIL, PASSWORD, World, world
from tests.auth.identity import CHROME, ELSEWHERE, HOME
from tests.auth.mfa.test_devices import on

ROOT = Path(__file__).parents[3]
SUBJECT = AttemptSubject(manufacturer_id="mfr_acme")


def test_a_hash_that_finds_no_memory_is_no_wrong_password() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.auth.passwords.memory_worker"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "seen": ["503 HASHING_UNAVAILABLE"],
        "after": "authenticated",
        "doors": 0,
        "failed": 0,
        "more_than_the_limit": True,
    }


@pytest.mark.parametrize(
    "failure",
    [
        *(MemoryError(), OSError("disk"), TimeoutError(), RuntimeError("can't start new thread"), KeyError("bug")),
        *(StorageError("gone"), StoreUnavailableError("gone"), EncryptionError("damaged"), asyncio.CancelledError()),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_no_failure_of_ours_is_counted_as_an_attempt(failure: BaseException) -> None:
    async with SqliteStore(":memory:", durable=False) as store:
        limiter = AttemptLimiter(store)
        for _ in range(30):
            with pytest.raises(type(failure)):
                async with limiter.attempt("password:account:x", SUBJECT):
                    raise failure
        async with limiter.attempt("password:account:x", SUBJECT) as attempt:
            attempt.outcome = "right"


async def test_a_wrong_outcome_still_counts_when_something_fails_after_it() -> None:
    async with SqliteStore(":memory:", durable=False) as store:
        limiter = AttemptLimiter(store)
        for _ in range(5):
            with pytest.raises(KeyError):
                async with limiter.attempt("password:account:x", SUBJECT) as attempt:
                    attempt.outcome = "wrong"
                    raise KeyError
        with pytest.raises(RateLimitExceededError):
            async with limiter.attempt("password:account:x", SUBJECT):
                pass


async def test_sign_ins_that_are_cancelled_while_they_hash_are_no_guesses() -> None:
    options = AccessOptions(argon2=Argon2Parameters(time_cost=3, memory_kib=16_384), hashing_threads=1)
    async with world(options=options) as here:
        for _ in range(4):
            tasks = [
                asyncio.create_task(here.auth.authenticate_manufacturer(EMAIL, "wrong-guess", client=HOME))
                for _ in range(4)
            ]
            await asyncio.sleep(0.03)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)).status == "authenticated"


@pytest.mark.parametrize("path", ["password", "totp", "step up"])
async def test_a_damaged_secret_is_an_error_and_no_guess_on_any_path(path: str) -> None:
    """The sealed TOTP secret was damaged in the store: every look at it fails, and none of them is counted."""
    async with world() as here:
        enrolment = await here.enrolled()
        await here.auth.store.engine.write(lambda c: c.execute("UPDATE totp SET secret = 'AAAA'").rowcount)
        for _ in range(14):
            with pytest.raises(SecurityError) as caught:
                await _try(here, path, here.code(enrolment.secret))
            assert caught.value.http_status >= 500
        assert not await here.auth.verify_backup_code("mfr_acme", "ZZZZ2222"), "not locked"


async def _try(here: World, path: str, code: str) -> None:
    if path == "password":
        await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, code, client=HOME)
    elif path == "totp":
        await here.auth.verify_mfa_token("mfr_acme", code)
    else:
        session = await here.auth.create_session(
            {"manufacturer_id": "mfr_acme", "company_name": "Acme", "email": EMAIL, "tier": "professional"}
        )
        await here.auth.step_up(session.session_id, code)


# --- the lane of trusted callers -------------------------------------------------------------------------------------


async def test_a_full_queue_of_strangers_does_not_refuse_a_trusted_caller() -> None:
    hashing = PasswordHashing(CHEAP, threads=1, queue_limit=8)
    stored = await hashing.hash("secret")
    gate = threading.Event()
    flood = [asyncio.create_task(hashing.run(gate.wait)) for _ in range(8)]
    await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailableError):
        await hashing.verify(stored, "secret")
    assert (await asyncio.wait_for(hashing.verify(stored, "secret", trusted=True), 5)).right
    gate.set()
    await asyncio.gather(*flood)
    hashing.close()


async def test_the_lane_of_trusted_callers_is_bounded_too() -> None:
    hashing = PasswordHashing(Argon2Parameters(time_cost=2, memory_kib=4_096), threads=1, queue_limit=8)
    results = await asyncio.gather(*(hashing.hash("x", trusted=True) for _ in range(10)), return_exceptions=True)
    assert any(isinstance(result, StoreUnavailableError) for result in results)
    assert (await hashing.hash("x")).startswith("$argon2id$"), "and takes nothing from the others"
    hashing.close()


@pytest.mark.parametrize("known", ["device", "network"])
async def test_a_flood_of_strangers_does_not_delay_who_is_known(known: str) -> None:
    options = AccessOptions(
        argon2=Argon2Parameters(time_cost=2, memory_kib=8_192), hashing_threads=1, hashing_queue_limit=64
    )
    async with world(options=options) as here:
        client = HOME
        if known == "device":
            client = on((await here.auth.register_trusted_device("mfr_acme", HOME)).device_token, agent=CHROME)
        await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=client)
        flood = [asyncio.create_task(_guess(here, number)) for number in range(100)]
        await asyncio.sleep(0.01)
        begun = time.monotonic()
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=client)).status == "authenticated"
        took = time.monotonic() - begun
        waiting = sum(not task.done() for task in flood)
        outcomes = await asyncio.gather(*flood)
        assert "HASHING_BUSY" in outcomes, "the queue of strangers was full"
        assert waiting > 30, f"the known caller waited behind the flood ({took:.2f} s)"


async def _guess(here: World, number: int) -> str:
    try:
        await here.auth.authenticate_manufacturer(f"n{number}@x.example", "wrong-guess", client=ELSEWHERE)
    except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError, StoreUnavailableError) as error:
        return str(error.code)
    return "accepted"
