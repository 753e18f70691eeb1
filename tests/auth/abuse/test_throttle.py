"""Throttles by network, device and overall; the detection of credential stuffing."""

from __future__ import annotations

import asyncio

import pytest

from gatewright.auth import AccessOptions, ClientInfo, SignInLimits
from gatewright.controls import Measure
from gatewright.errors import AccountLockedError, InvalidCredentialsError, RateLimitExceededError
from gatewright.policy import load_policy
from gatewright.settings import Settings
from gatewright.storage import Rate
from tests.auth.access import CHEAP, EMAIL, PASSWORD, World, world
from tests.auth.identity import CHROME, ELSEWHERE, HOME
from tests.auth.mfa.test_devices import on


def limited(**limits: object) -> AccessOptions:
    return AccessOptions(argon2=CHEAP, limits=SignInLimits(**limits))  # type: ignore[arg-type] # as each test says


async def fail(here: World, email: str, client: ClientInfo | None) -> str:
    try:
        await here.auth.authenticate_manufacturer(email, "wrong", client=client)
    except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError) as error:
        return type(error).__name__
    raise AssertionError("let in")


async def test_a_network_that_fails_at_many_accounts_is_slowed_and_others_are_not() -> None:
    async with world(options=limited(network=Rate(limit=200, period=600))) as here:
        outcomes = [await fail(here, f"n{n}@x.example", ClientInfo(f"198.51.100.{n}", CHROME)) for n in range(10)]
        assert outcomes == ["InvalidCredentialsError"] * 5 + ["RateLimitExceededError"] * 5
        assert "auth:login:throttled" in here.sink.kinds()
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)).status == "authenticated"


async def test_six_is_counted_by_its_64() -> None:
    async with world(options=limited(network=Rate(limit=80, period=600))) as here:
        outcomes = [await fail(here, f"n{n}@x.example", ClientInfo(f"2001:db8:0:1::{n:x}")) for n in range(4)]
        assert outcomes == ["InvalidCredentialsError"] * 2 + ["RateLimitExceededError"] * 2
        assert await fail(here, "m@x.example", ClientInfo("2001:db8:0:2::1")) == "InvalidCredentialsError"
        mapped = ClientInfo("::ffff:203.0.113.77")
        for n in range(2):
            await fail(here, f"k{n}@x.example", HOME)
        assert await fail(here, "k@x.example", mapped) == "RateLimitExceededError"


async def test_successes_cost_a_network_little() -> None:
    async with world(options=limited(network=Rate(limit=100, period=600))) as here:
        for _ in range(60):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)


async def test_a_trusted_device_has_a_rate_of_its_own() -> None:
    options = limited(network=Rate(limit=40, period=600), device=Rate(limit=3, period=60))
    async with world(options=options) as here:
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        await fail(here, "n@x.example", HOME)
        await fail(here, "m@x.example", HOME)
        owner = on(device.device_token, agent=CHROME)
        for _ in range(3):
            assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=owner)).session_id
        with pytest.raises(RateLimitExceededError):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=owner)
        here.clock.advance(20)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=owner)).session_id


async def test_everyone_together_is_limited_but_not_trusted_devices() -> None:
    async with world(options=limited(everyone=Rate(limit=4, period=60))) as here:
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        outcomes = [await fail(here, f"n{n}@x.example", None) for n in range(6)]
        assert outcomes.count("RateLimitExceededError") == 2
        owner = on(device.device_token, agent=CHROME)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=owner)).session_id


async def test_a_measure_tightens_the_limits() -> None:
    async with world(options=limited(network=Rate(limit=400, period=600))) as here:
        here.controls.apply(
            Measure(measure_id="m", kind="tighten_limit", target="login", value=0.2, created_at=here.clock.now())
        )
        outcomes = [await fail(here, f"n{n}@x.example", HOME) for n in range(6)]
        assert outcomes.count("InvalidCredentialsError") == 2


async def test_many_accounts_from_one_network_are_stuffing() -> None:
    async with world() as here:
        for n in range(12):
            await fail(here, f"n{n}@x.example", ClientInfo(f"198.51.100.{n}", CHROME))
        (found,) = [e for e in here.sink.events if e.kind == "auth:stuffing:detected"]
        assert found.severity == "high"
        assert found.data["pattern"] == "many_accounts" and found.data["network"] == "198.51.100.0/24"


async def test_many_networks_at_one_account_are_stuffing() -> None:
    async with world() as here:
        for n in range(12):
            await fail(here, EMAIL, ClientInfo(f"198.51.{n}.1", CHROME))
        patterns = [e.data["pattern"] for e in here.sink.events if e.kind == "auth:stuffing:detected"]
        assert patterns == ["many_networks"]


async def test_one_person_who_forgot_the_password_is_not() -> None:
    async with world() as here:
        for _ in range(5):
            await fail(here, EMAIL, HOME)
            await fail(here, EMAIL, ELSEWHERE)
        assert "auth:stuffing:detected" not in here.sink.kinds()


async def test_passkey_attempts_count_too() -> None:
    async with world(options=limited(network=Rate(limit=3, period=600))) as here:
        for _ in range(3):
            await here.auth.begin_passkey_login(client=HOME)
        with pytest.raises(RateLimitExceededError):
            await here.auth.begin_passkey_login(client=HOME)


async def test_a_burst_at_one_address_waits_in_a_bounded_line() -> None:
    async with world() as here:
        tries = (fail(here, EMAIL, None) for _ in range(400))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        checked = [o for o in outcomes if o == "InvalidCredentialsError"]
        assert 1 <= len(checked) <= 10


def test_policy_and_settings_make_the_options() -> None:
    options = AccessOptions.from_settings(Settings(mfa_required=True), load_policy())
    assert options.mfa_required
    assert (options.password_attempts.limit, options.limits.failure_cost) == (10, 40)
    assert options.limits == SignInLimits()
    assert AccessOptions.from_settings(Settings()).limits == SignInLimits()
