"""Hashing: Argon2id off the loop, in a pool that is bounded."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.auth import Argon2Parameters, PasswordHashing, normalize_password
from gatewright.errors import StoreUnavailableError
from tests.auth.access import CHEAP


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=256))
async def test_what_was_hashed_verifies_and_nothing_else(password: str) -> None:
    hashing = PasswordHashing(CHEAP, threads=1)
    made = await hashing.hash(password)
    assert made.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert (await hashing.verify(made, password)).right
    assert not (await hashing.verify(made, password + "x")).right
    hashing.close()


async def test_the_default_is_owasps() -> None:
    hashing = PasswordHashing()
    assert (await hashing.hash("x")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    hashing.close()


async def test_older_parameters_verify_and_ask_for_a_new_hash() -> None:
    old, new = PasswordHashing(CHEAP), PasswordHashing(Argon2Parameters(time_cost=2, memory_kib=16))
    made = await old.hash("secret")
    check = await new.verify(made, "secret")
    assert check.right and check.needs_rehash
    assert not (await old.verify(made, "secret")).needs_rehash
    assert not (await new.verify(made, "wrong")).needs_rehash


@pytest.mark.parametrize(
    "stored", [None, "", "plain", "$argon2id$v=19$m=8,t=1,p=1$x$y", "$2b$12$abcdefghijklmnopqrstuv"]
)
async def test_no_hash_or_a_strange_one_is_never_right(stored: str | None) -> None:
    hashing = PasswordHashing(CHEAP)
    assert not (await hashing.verify(stored, "secret")).right


async def test_the_queue_is_bounded_and_empties() -> None:
    hashing = PasswordHashing(Argon2Parameters(time_cost=2, memory_kib=4_096), threads=1, queue_limit=3)
    results = await asyncio.gather(*(hashing.hash("x") for _ in range(10)), return_exceptions=True)
    refused = [r for r in results if isinstance(r, StoreUnavailableError)]
    assert 1 <= len(refused) <= 7  # one of those that run may end while the others come
    assert all(error.code == "HASHING_BUSY" and error.retry_after > 0 for error in refused)
    assert (await hashing.hash("x")).startswith("$argon2id$")
    hashing.close()


async def test_cancelled_callers_leave_no_place_taken() -> None:
    hashing = PasswordHashing(Argon2Parameters(time_cost=1, memory_kib=1_024), threads=1, queue_limit=4)
    tasks = [asyncio.create_task(hashing.hash("x")) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(100):
        try:
            assert await hashing.hash("x")
            return
        except StoreUnavailableError:
            await asyncio.sleep(0.01)
    raise AssertionError("the places were never given back")


async def test_the_loop_goes_on_while_passwords_are_hashed() -> None:
    """Called by the processor's time, which a busy machine does not stretch: the work is done on other threads."""
    hashing = PasswordHashing(Argon2Parameters(time_cost=2, memory_kib=8_192))
    own, everyone = time.thread_time(), time.process_time()
    await asyncio.gather(*(hashing.hash("x") for _ in range(12)))
    own, everyone = time.thread_time() - own, time.process_time() - everyone
    assert own < everyone / 4, "passwords are hashed on the loop's thread"


def test_normalisation_is_nfkc() -> None:
    assert normalize_password("ﬁ①") == b"fi1"
    assert normalize_password("\ud800") == b"\xed\xa0\x80", "never an exception"
