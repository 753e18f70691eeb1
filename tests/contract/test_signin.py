"""What every store promises of one-time secrets, attempts, second factors, devices, passkeys and API keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, strategies as st

from gatewright.storage import (
    AttemptPolicy,
    LockoutState,
    OneTimeSecret,
    Store,
    StoredApiKey,
    StoredDevice,
    StoredPasskey,
    StoredTotp,
    reserve,
    settle,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOUR = timedelta(hours=1)
POLICY = AttemptPolicy()


def secret(key: str = "k", *, subject: str = "acc", minutes: int = 10) -> OneTimeSecret:
    return OneTimeSecret(
        key=key,
        purpose="reset",
        subject=subject,
        data={"n": [1, None, "é"]},
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=minutes),
    )


# --- one-time secrets -----------------------------------------------------------------------------------------------


async def test_a_secret_comes_back_and_is_taken_once(store: Store) -> None:
    await store.put_one_time(secret())
    assert await store.get_one_time("reset", "k", now=NOW) == secret()
    taken = await asyncio.gather(*(store.take_one_time("reset", "k", now=NOW) for _ in range(8)))
    assert [t for t in taken if t is not None] == [secret()]
    assert await store.get_one_time("reset", "k", now=NOW) is None


async def test_a_secret_is_of_its_purpose_and_its_time(store: Store) -> None:
    await store.put_one_time(secret())
    late = NOW + timedelta(minutes=10)
    for purpose, key, now in (("other", "k", NOW), ("reset", "K", NOW), ("reset", "k", late)):
        assert await store.get_one_time(purpose, key, now=now) is None
        assert await store.attempt_one_time(purpose, key, now=now, limit=5) is None
        assert await store.take_one_time(purpose, key, now=now) is None
    assert await store.take_one_time("reset", "k", now=NOW) is not None


async def test_attempts_at_a_secret_end(store: Store) -> None:
    await store.put_one_time(secret())
    tries = [await store.attempt_one_time("reset", "k", now=NOW, limit=3) for _ in range(5)]
    assert [t.attempts if t else None for t in tries] == [1, 2, 3, None, None]


async def test_all_secrets_of_a_subject_are_dropped(store: Store) -> None:
    for key in ("a", "b"):
        await store.put_one_time(secret(key))
    await store.put_one_time(secret("c", subject="else"))
    assert await store.drop_one_time("reset", "acc") == 2
    assert await store.get_one_time("reset", "c", now=NOW) is not None


# --- attempts -------------------------------------------------------------------------------------------------------


async def test_a_door_slows_then_locks_and_a_right_one_forgets(store: Store) -> None:
    for number in range(1, 6):
        assert (await store.reserve_attempt("d", POLICY, now=NOW)).allowed
        assert (await store.settle_attempt("d", POLICY, "wrong", now=NOW)).failures == number
    slowed = await store.reserve_attempt("d", POLICY, now=NOW)
    assert (slowed.allowed, slowed.locked, slowed.retry_after) == (False, False, 1.0)
    assert (await store.reserve_attempt("d", POLICY, now=NOW + timedelta(seconds=1))).allowed
    await store.settle_attempt("d", POLICY, "right", now=NOW)
    assert (await store.reserve_attempt("d", POLICY, now=NOW)).failures == 0
    assert (await store.reserve_attempt("other", POLICY, now=NOW)).failures == 0


async def test_no_more_at_once_than_could_all_fail_without_a_wait(store: Store) -> None:
    decisions = await asyncio.gather(*(store.reserve_attempt("d", POLICY, now=NOW) for _ in range(40)))
    assert sum(d.allowed for d in decisions) == POLICY.free
    assert sum(d.busy for d in decisions) == 40 - POLICY.free
    await store.settle_attempt("d", POLICY, "right", now=NOW)
    assert (await store.reserve_attempt("d", POLICY, now=NOW)).allowed
    assert (await store.reserve_attempt("d", POLICY, now=NOW)).busy
    for _ in range(POLICY.free):
        await store.settle_attempt("d", POLICY, "wrong", now=NOW)
    assert (await store.reserve_attempt("d", POLICY, now=NOW)).retry_after == 1.0
    await store.clear_attempts("d")
    assert (await store.reserve_attempt("d", POLICY, now=NOW)).allowed


async def test_pressing_on_locks(store: Store) -> None:
    for _ in range(POLICY.free):
        await store.reserve_attempt("d", POLICY, now=NOW)
        await store.settle_attempt("d", POLICY, "wrong", now=NOW)
    decisions = [await store.reserve_attempt("d", POLICY, now=NOW) for _ in range(8)]
    assert [d.newly_locked for d in decisions].count(True) == 1
    assert decisions[-1].locked and decisions[-1].retry_after == POLICY.lock


async def test_attempts_of_a_process_that_died_are_no_guesses(store: Store) -> None:
    """Nobody was told how they ended: the answer waits for the settlement."""
    for _ in range(POLICY.free):
        await store.reserve_attempt("d", POLICY, now=NOW)
    assert (await store.reserve_attempt("d", POLICY, now=NOW + timedelta(seconds=59))).busy
    after = await store.reserve_attempt("d", POLICY, now=NOW + timedelta(seconds=61))
    assert (after.allowed, after.failures) == (True, 0)


async def _locked(store: Store, policy: AttemptPolicy = POLICY, *, locks: int = 1) -> datetime:
    """Lock the door ``d`` so many times; the moment of the last one."""
    now = NOW
    for number in range(locks):
        for _ in range(2 * policy.limit):
            decision = await store.reserve_attempt("d", policy, now=now)
            if decision.allowed:
                decision = await store.settle_attempt("d", policy, "wrong", now=now)
            if decision.locked:
                break
        assert decision.locked
        if number + 1 < locks:
            now += timedelta(seconds=decision.retry_after)
    return now


@pytest.mark.parametrize("hours", [1 / 60, 1, 3, 27, 24 * 400])
@pytest.mark.parametrize("locks", [1, 3, 9])
async def test_a_lock_never_outlasts_its_length_when_the_clock_steps_back(
    store: Store, hours: float, locks: int
) -> None:
    at = await _locked(store, locks=locks)
    length = min(POLICY.lock * 2 ** (locks - 1), POLICY.longest_lock)
    back = at - timedelta(hours=hours)
    refused = await store.reserve_attempt("d", POLICY, now=back)
    assert refused.locked and refused.retry_after <= length
    later = await store.reserve_attempt("d", POLICY, now=back + timedelta(seconds=length / 2))
    assert later.retry_after <= length / 2, "the cut lock runs down"
    assert (await store.reserve_attempt("d", POLICY, now=back + timedelta(seconds=length + 1))).allowed


async def test_delays_and_doubling_survive_a_clock_that_steps_back_and_forth(store: Store) -> None:
    for _ in range(POLICY.free):
        await store.reserve_attempt("d", POLICY, now=NOW)
        await store.settle_attempt("d", POLICY, "wrong", now=NOW)
    back = NOW - HOUR
    a_little = await store.reserve_attempt("d", POLICY, now=NOW - timedelta(seconds=30))
    assert not a_little.allowed and a_little.retry_after <= POLICY.first_delay
    assert (await store.reserve_attempt("d", POLICY, now=back)).allowed
    await store.settle_attempt("d", POLICY, "wrong", now=back)
    assert (await store.reserve_attempt("d", POLICY, now=back)).retry_after == 2 * POLICY.first_delay
    await store.clear_attempts("d")
    at = await _locked(store)
    ahead = await store.reserve_attempt("d", POLICY, now=at + timedelta(hours=2))
    assert ahead.allowed, "a lock whose end has passed is over"
    await store.settle_attempt("d", POLICY, "neither", now=at + timedelta(hours=2))
    for _ in range(2 * POLICY.limit):
        decision = await store.reserve_attempt("d", POLICY, now=at)
        if decision.allowed:
            decision = await store.settle_attempt("d", POLICY, "wrong", now=at)
        if decision.locked:
            break
    assert decision.retry_after == 2 * POLICY.lock, "the second lock is twice as long, whatever the clock did"


async def test_a_secret_does_not_live_longer_because_the_clock_stepped_back(store: Store) -> None:
    await store.put_one_time(secret())
    ahead, back = NOW - timedelta(seconds=59), NOW - HOUR
    assert await store.get_one_time("reset", "k", now=ahead) is not None, "another host's clock may be ahead"
    assert await store.get_one_time("reset", "k", now=back) is None
    assert await store.attempt_one_time("reset", "k", now=back, limit=5) is None
    assert await store.take_one_time("reset", "k", now=back) is None
    assert await store.take_one_time("reset", "k", now=ahead) is not None


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from(["right", "wrong", "neither"])), max_size=120))
def test_never_more_than_the_limit_between_two_right_ones(steps: list[tuple[float, str]]) -> None:
    policy = AttemptPolicy(lock=10_000.0, memory=100_000.0)
    state: LockoutState | None = None
    now, wrong = 1_000_000.0, 0
    for wait, outcome in steps:
        now += wait
        decision, changed = reserve(state, policy, now)
        state = changed if changed is not None else state
        if not decision.allowed:
            assert decision.retry_after > 0 and not decision.busy
            continue
        wrong = 0 if outcome == "right" else wrong + (outcome == "wrong")
        _, state = settle(state, policy, outcome, now)  # type: ignore[arg-type] # one of three words
        assert wrong <= policy.limit


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["reserve", "wrong", "neither"])), max_size=200))
def test_nor_when_attempts_overlap(steps: list[tuple[float, str]]) -> None:
    policy = AttemptPolicy(lock=10_000.0, memory=100_000.0)
    state: LockoutState | None = None
    now, wrong, pending = 1_000_000.0, 0, 0
    for wait, step in steps:
        now += wait / 100
        if step == "reserve":
            decision, changed = reserve(state, policy, now)
            state = changed if changed is not None else state
            pending += decision.allowed
        elif pending:
            pending -= 1
            wrong += step == "wrong"
            _, state = settle(state, policy, step, now)  # type: ignore[arg-type] # one of three words
        assert wrong + pending <= policy.limit


@given(st.floats(0, 10**7), st.integers(0, 12), st.integers(0, 12), st.integers(0, 40))
def test_every_door_opens_again(waited: float, failures: int, refused: int, locks: int) -> None:
    state = LockoutState(failures=failures, refused=refused, last_at=0.0, locks=locks)
    decision, changed = reserve(state, POLICY, waited)
    if not decision.allowed:
        later = waited + decision.retry_after
        assert decision.retry_after <= POLICY.longest_lock
        assert reserve(changed or state, POLICY, later + 0.001)[0].allowed


async def test_different_members_are_counted_within_the_window(store: Store) -> None:
    counts = [
        await store.count_distinct("t", member, now=NOW + timedelta(seconds=n), window=60)
        for n, member in enumerate(["a", "b", "a", "c"])
    ]
    assert counts == [1, 2, 2, 3]
    assert await store.count_distinct("u", "a", now=NOW, window=60) == 1
    assert await store.count_distinct("t", "d", now=NOW + timedelta(seconds=62.5), window=60) == 2


# --- TOTP and backup codes ------------------------------------------------------------------------------------------


def totp(enrolment_id: str = "e1") -> StoredTotp:
    return StoredTotp(enrolment_id=enrolment_id, account_id="acc", secret="sealed", created_at=NOW)


async def test_a_step_is_taken_once_and_only_upwards(store: Store) -> None:
    await store.put_totp(totp(), ["h1"])
    taken = await asyncio.gather(*(store.accept_totp_step("acc", "e1", 100) for _ in range(8)))
    assert sum(taken) == 1
    assert not await store.accept_totp_step("acc", "e1", 99)
    assert not await store.accept_totp_step("other", "e1", 200)
    assert await store.accept_totp_step("acc", "e1", 101)
    (kept,) = await store.list_totp("acc")
    assert (kept.active, kept.last_step) == (True, 101)


async def test_an_enrolment_waits_until_a_step_of_it_is_taken(store: Store) -> None:
    await store.put_totp(totp("e1"), ["h1", "h2"])
    assert await store.use_backup_code("acc", "h1", now=NOW) == "used"
    await store.put_totp(totp("e2"), ["h3"])
    assert await store.use_backup_code("acc", "h2", now=NOW) == "unknown"
    await store.accept_totp_step("acc", "e2", 5)
    await store.put_totp(totp("e3"), ["h4", "h5"])
    assert [(t.enrolment_id, t.active) for t in await store.list_totp("acc")] == [("e2", True), ("e3", False)]
    assert await store.use_backup_code("acc", "h4", now=NOW) == "unknown", "the active enrolment's codes count"
    assert await store.count_backup_codes("acc") == 1
    await store.accept_totp_step("acc", "e3", 5)
    assert [t.enrolment_id for t in await store.list_totp("acc")] == ["e3"]
    assert await store.use_backup_code("acc", "h3", now=NOW) == "unknown"
    assert await store.use_backup_code("acc", "h4", now=NOW) == "used"


async def test_a_code_is_used_once(store: Store) -> None:
    await store.replace_backup_codes("acc", ["h1", "h2"])
    used = await asyncio.gather(*(store.use_backup_code("acc", "h1", now=NOW) for _ in range(8)))
    assert sorted(used) == ["replayed"] * 7 + ["used"]
    assert await store.use_backup_code("other", "h2", now=NOW) == "unknown"
    assert await store.count_backup_codes("acc") == 1
    await store.replace_backup_codes("acc", ["h9"])
    assert await store.use_backup_code("acc", "h2", now=NOW) == "unknown"


async def test_recovering_ends_with_a_new_factor(store: Store) -> None:
    for enrol in ("totp", "passkey"):
        await store.set_recovering("acc", True)
        await store.set_recovering("acc", True)
        assert await store.is_recovering("acc")
        if enrol == "totp":
            await store.put_totp(totp(), [])
            await store.accept_totp_step("acc", "e1", 1)
        else:
            await store.add_passkey(passkey())
        assert not await store.is_recovering("acc")
    await store.set_recovering("acc", False)
    await store.delete_factors("acc", passkeys=False)
    assert await store.list_totp("acc") == [] and len(await store.list_passkeys("acc")) == 1
    await store.delete_factors("acc", passkeys=True)
    assert await store.list_passkeys("acc") == []


# --- passkeys and devices -------------------------------------------------------------------------------------------


def passkey(credential_id: str = "c1", *, sign_count: int = 0) -> StoredPasskey:
    return StoredPasskey(
        credential_id=credential_id,
        account_id="acc",
        public_key=b"\x00\xff",
        sign_count=sign_count,
        name="Key",
        created_at=NOW,
    )


async def test_a_passkey_is_kept_once(store: Store) -> None:
    assert await store.add_passkey(passkey())
    assert not await store.add_passkey(msgspec.structs.replace(passkey(), account_id="thief"))
    assert await store.get_passkey("c1") == passkey()
    assert not await store.delete_passkey("thief", "c1")
    assert await store.delete_passkey("acc", "c1")
    assert await store.get_passkey("c1") is None


@pytest.mark.parametrize(
    ("before", "after", "rises"),
    [(0, 0, True), (0, 1, True), (5, 6, True), (5, 5, False), (5, 4, False), (5, 0, False)],
)
async def test_the_counter_must_rise(store: Store, before: int, after: int, rises: bool) -> None:
    await store.add_passkey(passkey(sign_count=before))
    assert await store.advance_passkey("c1", after, now=NOW) is rises
    kept = await store.get_passkey("c1")
    assert kept is not None and kept.sign_count == (after if rises else before)
    assert kept.last_used_at == (NOW if rises else None)


def device(number: int = 1) -> StoredDevice:
    return StoredDevice(
        device_id=f"d{number}",
        account_id="acc",
        name="Till",
        binding="b",
        created_at=NOW + timedelta(seconds=number),
        expires_at=NOW + HOUR,
    )


async def test_devices(store: Store) -> None:
    for number in range(1, 5):
        await store.add_device(device(number), keep=3)
    assert [d.device_id for d in await store.list_devices("acc", now=NOW)] == ["d4", "d3", "d2"]
    assert await store.get_device("d1") is None
    await store.touch_device("d2", now=NOW + timedelta(seconds=50))
    await store.add_device(device(6), keep=3)
    assert {d.device_id for d in await store.list_devices("acc", now=NOW)} == {"d6", "d4", "d2"}
    assert await store.list_devices("acc", now=NOW + HOUR) == []
    assert not await store.delete_device("thief", "d2")
    assert await store.delete_device("acc", "d2")
    assert await store.delete_devices("acc") == 2


# --- API keys -------------------------------------------------------------------------------------------------------


def api_key(key_id: str = "k1", *, replaces: str | None = None) -> StoredApiKey:
    return StoredApiKey(
        key_id=key_id,
        manufacturer_id="mfr",
        account_id="acc",
        name="ci",
        secret_hash="h",
        permissions=("a", "b"),
        created_at=NOW,
        replaces=replaces,
    )


async def test_api_keys_are_kept_up_to_a_limit_and_revoked_once(store: Store) -> None:
    heard: list[str] = []
    store.changes.subscribe("api_key", heard.append)
    assert await store.add_api_key(api_key(), limit=1)
    assert await store.get_api_key("k1") == api_key()
    assert not await store.add_api_key(api_key("k2"), limit=1)
    assert await store.revoke_api_key("k1", now=NOW)
    assert not await store.revoke_api_key("k1", now=NOW)
    assert heard == ["k1"]
    assert await store.add_api_key(api_key("k2"), limit=1)
    await store.touch_api_key("k2", now=NOW)
    assert {k.key_id for k in await store.list_api_keys("mfr")} == {"k1", "k2"}


async def test_a_key_is_rotated_once(store: Store) -> None:
    await store.add_api_key(api_key(), limit=9)
    rotated = await asyncio.gather(
        *(store.rotate_api_key(api_key(f"n{n}", replaces="k1"), old_expires_at=NOW + HOUR) for n in range(6))
    )
    assert sum(rotated) == 1
    old = await store.get_api_key("k1")
    assert old is not None and old.expires_at == NOW + HOUR
    foreign = msgspec.structs.replace(api_key("x", replaces="n0"), manufacturer_id="thief")
    assert not await store.rotate_api_key(foreign, old_expires_at=NOW)


async def test_rotation_never_lengthens_a_life(store: Store) -> None:
    await store.add_api_key(msgspec.structs.replace(api_key(), expires_at=NOW), limit=9)
    await store.rotate_api_key(api_key("k2", replaces="k1"), old_expires_at=NOW + HOUR)
    old = await store.get_api_key("k1")
    assert old is not None and old.expires_at == NOW


async def test_one_time_secrets_of_a_purpose_are_listed_and_replaced(store: Store) -> None:
    for key in ("b", "a", "c"):
        await store.put_one_time(msgspec.structs.replace(secret(), key=key))
    await store.put_one_time(msgspec.structs.replace(secret(), key="d", purpose="other"))
    first = await store.list_one_time("reset", limit=2)
    rest = await store.list_one_time("reset", after=first[-1].key, limit=2)
    assert [one.key for one in [*first, *rest]] == ["a", "b", "c"]
    data = first[0].data
    assert await store.replace_one_time("reset", "a", expected=data, data={"n": 2})
    assert not await store.replace_one_time("reset", "a", expected=data, data={"n": 3}), "somebody was faster"
    changed = await store.get_one_time("reset", "a", now=NOW)
    assert changed is not None and changed.data == {"n": 2}


async def test_factors_are_held_until_a_time_or_until_released(store: Store) -> None:
    """The later time stays, so that a second enrollment cannot shorten the first one's wait."""
    assert await store.factors_held_until("acc_001") is None
    await store.hold_factors("acc_001", NOW + timedelta(days=1))
    await store.hold_factors("acc_001", NOW + timedelta(hours=1))
    assert await store.factors_held_until("acc_001") == NOW + timedelta(days=1)
    assert await store.factors_held_until("acc_002") is None
    await store.release_factors("acc_001")
    await store.release_factors("acc_001")
    assert await store.factors_held_until("acc_001") is None
