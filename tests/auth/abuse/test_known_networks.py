"""Strangers cannot lock an owner out: known networks and the network that fails have lockout keys of their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from gatewright.auth import AccessOptions, ClientInfo, SignInLimits
from gatewright.controls import networks_of
from gatewright.errors import AccountLockedError, InvalidCredentialsError, RateLimitExceededError
from gatewright.storage import Rate
from tests.auth.abuse.test_attack import count_checks
from tests.auth.access import CHEAP, EMAIL, OWNER, PASSWORD, World, world
from tests.auth.identity import CHROME, ELSEWHERE, HOME, NEIGHBOUR, SAFARI

UNKNOWN = "nobody@acme.example"


async def outcome(here: World, email: str, client: ClientInfo | None, password: str = "wrong-guess") -> str:
    try:
        return (await here.auth.authenticate_manufacturer(email, password, client=client)).status
    except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError) as error:
        return type(error).__name__


def stranger(number: int) -> ClientInfo:
    return ClientInfo(f"198.51.{number}.7", CHROME)


async def lock_for_strangers(here: World, email: str = EMAIL) -> None:
    for number in range(20):
        for _ in range(2):
            await outcome(here, email, stranger(number))
    assert await outcome(here, email, stranger(99)) == "AccountLockedError"


async def test_a_stranger_with_one_network_never_locks_the_account() -> None:
    """Ten requests, again and again for a day: the network that fails is refused, no one else."""
    async with world() as here:
        checked = count_checks(here.auth.services.hashing)
        for _ in range(24 * 12):
            for _ in range(10):
                await outcome(here, EMAIL, ELSEWHERE)
            here.clock.advance(minutes=5)
        assert await outcome(here, EMAIL, ELSEWHERE) == "AccountLockedError"
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"
        assert len(checked) < 20


async def test_waiting_out_each_lock_of_one_network_does_not_lock_the_account() -> None:
    async with world() as here:
        for _ in range(60):
            try:
                await here.auth.authenticate_manufacturer(EMAIL, "wrong-guess", client=ELSEWHERE)
            except (RateLimitExceededError, AccountLockedError) as error:
                here.clock.advance(error.retry_after)
            except InvalidCredentialsError:
                pass
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"


async def test_known_networks_keep_their_own_lockout_key() -> None:
    async with world() as here:
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"
        await lock_for_strangers(here)
        for _ in range(3):
            assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"
            assert await outcome(here, EMAIL, NEIGHBOUR, PASSWORD) == "authenticated"
        assert await outcome(here, EMAIL, stranger(98), PASSWORD) == "AccountLockedError"


@pytest.mark.parametrize(("days", "expected"), [(89, "authenticated"), (91, "AccountLockedError")])
async def test_a_network_stays_known_for_ninety_days(days: int, expected: str) -> None:
    async with world() as here:
        done = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        await here.auth.invalidate_session(done.session_id or "")
        here.clock.advance(days=days)
        await lock_for_strangers(here)
        assert await outcome(here, EMAIL, HOME, PASSWORD) == expected


async def test_strangers_get_ten_guesses_at_an_account_however_many_networks_they_have() -> None:
    async with world() as here:
        checked = count_checks(here.auth.services.hashing)
        await asyncio.gather(*(outcome(here, EMAIL, stranger(number % 250)) for number in range(500)))
        for number in range(250):
            await outcome(here, EMAIL, stranger(number))
        for number in range(250):
            await outcome(here, EMAIL, ClientInfo(f"2001:db8:{number:x}::1", CHROME))
        assert len(checked) <= 10


async def test_an_attacker_in_a_known_network_locks_that_network_only() -> None:
    """Behind the same NAT an attacker gets at most ten guesses, and other known networks and devices continue."""
    async with world() as here:
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"
        assert await outcome(here, EMAIL, ELSEWHERE, PASSWORD) == "authenticated"
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        checked = count_checks(here.auth.services.hashing)
        for _ in range(30):
            await outcome(here, EMAIL, NEIGHBOUR)
        assert len(checked) <= 10
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "AccountLockedError"
        assert await outcome(here, EMAIL, ELSEWHERE, PASSWORD) == "authenticated"
        trusted = ClientInfo(HOME.ip_address, CHROME, device.device_token)
        assert await outcome(here, EMAIL, trusted, PASSWORD) == "authenticated"


async def test_a_network_that_one_account_uses_is_unknown_to_another() -> None:
    async with world() as here:
        other = {**OWNER, "email": "eve@eve.example", "manufacturer_id": "mfr_eve", "company_name": "Quiet Harbor"}
        await here.auth.register_manufacturer(other)
        assert await outcome(here, "eve@eve.example", ELSEWHERE, PASSWORD) == "authenticated"
        await lock_for_strangers(here)
        assert await outcome(here, EMAIL, ELSEWHERE, PASSWORD) == "AccountLockedError"


@pytest.mark.parametrize("client", [HOME, ClientInfo("2001:db8:5:6::7", SAFARI), ClientInfo("not-an-address"), None])
async def test_unknown_addresses_are_refused_like_known_ones(client: ClientInfo | None) -> None:
    async with world() as here:

        async def outcomes(email: str) -> list[tuple[str, str, float]]:
            seen = []
            for _ in range(14):
                with pytest.raises((InvalidCredentialsError, RateLimitExceededError, AccountLockedError)) as caught:
                    await here.auth.authenticate_manufacturer(email, "wrong-guess", client=client)
                seen.append((caught.value.code, caught.value.message, getattr(caught.value, "retry_after", 0.0)))
            return seen

        assert await outcomes(EMAIL) == await outcomes(UNKNOWN)
        await lock_for_strangers(here, EMAIL)
        await lock_for_strangers(here, UNKNOWN)
        assert await outcomes(EMAIL) == await outcomes(UNKNOWN)


async def test_a_password_reset_ends_the_lockout_of_the_owners_network() -> None:
    async with world() as here:
        for _ in range(20):
            await outcome(here, EMAIL, HOME)
        await here.auth.request_password_reset(EMAIL, client=NEIGHBOUR)
        await here.auth.services.mailer.drain()
        token = next(m.data["token"] for m in here.mailbox.messages if m.kind == "reset_password")
        await here.auth.reset_password(str(token), "marmalade-otter-violin", client=HOME)
        assert await outcome(here, EMAIL, HOME, "marmalade-otter-violin") == "authenticated"


async def test_the_second_network_of_a_prefix_is_no_fresh_start() -> None:
    """Every /64 of a /48 shares a lockout key at an account, and a rate."""
    async with world() as here:
        for number in range(12):
            await outcome(here, EMAIL, ClientInfo(f"2001:db8:7:{number:x}::1", CHROME))
        assert await outcome(here, EMAIL, ClientInfo("2001:db8:7:ff::1", CHROME)) == "AccountLockedError"
        here.clock.advance(5)
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"


async def test_new_64s_of_one_48_share_an_allowance() -> None:
    options = AccessOptions(argon2=CHEAP, limits=SignInLimits(network=Rate(limit=80, period=600)))
    async with world(options=options) as here:
        outcomes = [
            await outcome(here, f"n{n}@x.example", ClientInfo(f"2001:db8:7:{n:x}::1", CHROME)) for n in range(20)
        ]
        assert outcomes.count("InvalidCredentialsError") <= 8, "four times the allowance of one /64"
        assert outcomes[-1] == "RateLimitExceededError"
        assert await outcome(here, "n@x.example", ClientInfo("2001:db8:8::1", CHROME)) == "InvalidCredentialsError"


async def test_stuffing_from_changing_64s_is_seen() -> None:
    async with world() as here:
        for n in range(10):
            await outcome(here, f"n{n}@x.example", ClientInfo(f"2001:db8:7:{n:x}::1", CHROME))
        found = [e.data["network"] for e in here.sink.events if e.kind == "auth:stuffing:detected"]
        assert found == ["2001:db8:7::/48"]


async def test_a_known_network_is_not_held_up_by_the_limits_of_strangers() -> None:
    limits = SignInLimits(everyone=Rate(limit=4, period=60), account=Rate(limit=4, period=900))
    async with world(options=AccessOptions(argon2=CHEAP, limits=limits)) as here:
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"
        for number in range(8):
            await outcome(here, EMAIL, stranger(number))
        assert await outcome(here, EMAIL, HOME, PASSWORD) == "authenticated"


def test_the_networks_that_limits_are_counted_for() -> None:
    assert networks_of("203.0.113.9") == networks_of("::ffff:203.0.113.9") == ("203.0.113.0/24",)
    assert networks_of("2001:db8:1:2::5") == ("2001:db8:1:2::/64", "2001:db8:1::/48")
    assert networks_of("fe80::1%eth0") == ("fe80::/64", "fe80::/48")
    for text in ("", "unknown", "203.0.113.9:80", "203.0.113.0/24", "::1%a/b", "x" * 100_000):
        assert networks_of(text) == ()


async def test_the_lookup_is_by_index() -> None:
    """A known network costs one indexed read, however many sessions there are."""
    async with world() as here:
        sql = "EXPLAIN QUERY PLAN SELECT 1 FROM sessions WHERE account_id = ? AND network = ? AND last_activity >= ?"
        plan = await here.auth.store.engine.read(lambda c: c.execute(sql, ("a", "n", 0.0)).fetchall())
        assert "sessions_by_network" in str(plan)
        since = here.clock.now() - timedelta(days=90)
        assert not await here.auth.store.has_used_network("acc", "203.0.113.0/24", since=since)
