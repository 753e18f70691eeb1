"""Trusted devices: signed, bound, revocable, expiring."""

from __future__ import annotations

import pytest

from gatewright.auth import ClientInfo
from tests.auth.access import EMAIL, PASSWORD, World, world
from tests.auth.identity import CHROME, HOME, NEWER_CHROME, SAFARI


def on(token: str | None, *, agent: str = CHROME, address: str = "203.0.113.9") -> ClientInfo:
    return ClientInfo(ip_address=address, user_agent=agent, device_token=token)


async def remembered(here: World) -> str:
    """Sign in with MFA and remember the device; its token."""
    enrolment = await here.enrolled()
    challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
    done = await here.auth.complete_mfa(
        challenge.challenge_id or "", here.code(enrolment.secret), client=HOME, remember_device=True
    )
    assert done.device_token is not None
    return done.device_token


async def test_a_trusted_device_stands_for_the_second_factor_but_is_no_recent_one() -> None:
    async with world() as here:
        token = await remembered(here)
        done = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=on(token))
        assert done.status == "authenticated"
        session = await here.auth.get_session_info(done.session_id or "")
        assert session is not None and session.mfa_at is None
        assert set(session.factors) == {"pwd", "device"}


async def test_it_is_bound_to_the_kind_of_browser_not_to_its_version_or_network() -> None:
    async with world() as here:
        token = await remembered(here)
        moved = on(token, agent=NEWER_CHROME, address="198.51.100.20")
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=moved)).status == "authenticated"
        stolen = on(token, agent=SAFARI)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=stolen)).status == "mfa_required"


async def test_it_can_be_listed_and_revoked() -> None:
    async with world() as here:
        token = await remembered(here)
        (device,) = await here.auth.list_devices("mfr_acme")
        assert device.device_token is None and device.name == "Chrome on Windows"
        assert await here.auth.verify_device("mfr_acme", token, client=HOME)
        assert not await here.auth.revoke_device("mfr_acme", "another")
        assert await here.auth.revoke_device("mfr_acme", device.device_id)
        assert not await here.auth.verify_device("mfr_acme", token, client=HOME)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=on(token))).status == "mfa_required"
        assert await here.auth.list_devices("mfr_acme") == []


async def test_without_a_client_only_the_account_is_compared() -> None:
    async with world(register=False) as here:
        device = await here.auth.register_trusted_device("mfr_x", HOME)
        assert await here.auth.verify_device("mfr_x", device.device_token or "")
        assert not await here.auth.verify_device("mfr_y", device.device_token or "")
        assert not await here.auth.verify_device("mfr_x", device.device_token or "", client=ClientInfo())


async def test_it_expires() -> None:
    async with world() as here:
        token = await remembered(here)
        here.clock.advance(days=29)
        assert await here.auth.verify_device("mfr_acme", token, client=HOME)
        here.clock.advance(days=1)
        assert not await here.auth.verify_device("mfr_acme", token, client=HOME)


async def test_it_is_good_for_its_own_account_alone() -> None:
    async with world() as here:
        token = await remembered(here)
        await here.auth.register_manufacturer(
            {"email": "x@other.example", "password": PASSWORD, "company_name": "Other", "manufacturer_id": "mfr_other"}
        )
        assert not await here.auth.verify_device("mfr_other", token, client=HOME)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2] + "AA", lambda t: t.upper(), lambda t: t + "x", lambda t: "gwd_a_b"]
)
async def test_a_forged_token_is_nothing(change: object) -> None:
    async with world(register=False) as here:
        device = await here.auth.register_trusted_device("mfr_x", HOME, name="Till")
        assert device.device_token is not None and device.device_token not in repr(device)
        assert await here.auth.verify_device("mfr_x", device.device_token, client=HOME)
        assert not await here.auth.verify_device("mfr_x", change(device.device_token), client=HOME)


@pytest.mark.parametrize("token", ["", "x" * 300, "gwd__", "é", "gwd_00_\x00"])
async def test_any_text_may_be_shown_as_a_token(token: str) -> None:
    async with world(register=False) as here:
        assert not await here.auth.verify_device("mfr_x", token)


async def test_an_account_keeps_its_twenty_most_used_devices() -> None:
    async with world(register=False) as here:
        tokens = []
        for _ in range(23):
            here.clock.advance(1)
            tokens.append((await here.auth.register_trusted_device("mfr_x", HOME)).device_token or "")
        assert len(await here.auth.list_devices("mfr_x")) == 20
        assert not await here.auth.verify_device("mfr_x", tokens[0], client=HOME)
        assert await here.auth.verify_device("mfr_x", tokens[-1], client=HOME)
