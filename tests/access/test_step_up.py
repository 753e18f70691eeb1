"""Step-up: a second factor that a session adds on the spot does not satisfy what asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from gatewright import ManualClock
from gatewright.errors import AuthorizationError
from gatewright.notify import MemoryNotifier
from gatewright.storage import PLATFORM_TENANT
from tests.access.world import PASSWORD, World, opened
from tests.auth.authenticator import SoftAuthenticator

RENEW = ("POST", "/v1/mfa/backup-codes")
"""A call that asks for a recent second factor and for nothing else."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as made:
        yield made


class Phone:
    """An authenticator app that never shows a code twice."""

    def __init__(self, world: World, secret: str) -> None:
        self._world, self._totp = world, pyotp.TOTP(secret)

    def code(self) -> str:
        clock = self._world.foundation.clock
        assert isinstance(clock, ManualClock)
        clock.advance(seconds=31)
        return self._totp.at(int(clock.timestamp()))


async def enroll(world: World, caller: str) -> Phone:
    """Add an app by the calls of a session."""
    begun = await world.call(caller, "POST", "/v1/mfa/totp", {})
    assert begun.status_code == 200, begun.text
    phone = Phone(world, begun.json()["secret"])
    confirmed = await world.call(caller, "POST", "/v1/mfa/totp/confirm", {"code": phone.code()})
    assert confirmed.json()["enabled"], confirmed.text
    return phone


async def sign_in(world: World, email: str, phone: Phone | None = None) -> dict[str, Any]:
    body = {"email": email, "password": PASSWORD, **({} if phone is None else {"mfa_code": phone.code()})}
    answer = await world.call("anonymous", "POST", "/v1/auth/login", body)
    if "access_token" in answer.json():
        world.callers["again"] = {"authorization": f"Bearer {answer.json()['access_token']}"}
    return dict(answer.json())


async def mailed(world: World, email: str, kind: str) -> Any:
    await world.foundation.auth.services.mailer.drain()
    notifier = world.foundation.notifier
    assert isinstance(notifier, MemoryNotifier)
    return notifier.last(email, kind=kind).data


async def outcome(world: World, caller: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    answer: httpx.Response = await world.call(caller, method, path, body)
    return answer.status_code, answer.json().get("code", "") if answer.content else ""


BARE = "owner, no second factor"
EMAIL = "bare-owner@example.com"


async def test_a_factor_added_on_the_spot_satisfies_nothing(world: World) -> None:
    """Not in its session, not by stepping up with it, and not by signing in again with it."""
    phone = await enroll(world, BARE)
    assert await outcome(world, BARE, *RENEW) == (401, "MFA_REQUIRED")
    step_up = ("POST", "/v1/mfa/step-up", {"code": phone.code()})
    assert await outcome(world, BARE, *step_up) == (401, "FACTOR_TOO_NEW")
    assert (await sign_in(world, EMAIL))["status"] == "mfa_required", "sign-in asks for it from now on"
    assert (await sign_in(world, EMAIL, phone))["status"] == "authenticated"
    assert await outcome(world, "again", *RENEW) == (401, "MFA_REQUIRED")


async def test_it_counts_after_a_day(world: World) -> None:
    phone = await enroll(world, BARE)
    clock = world.foundation.clock
    assert isinstance(clock, ManualClock)
    clock.advance(hours=23, minutes=58)
    await sign_in(world, EMAIL, phone)
    assert await outcome(world, "again", *RENEW) == (401, "MFA_REQUIRED")
    clock.advance(minutes=2)
    await sign_in(world, EMAIL, phone)
    assert (await world.call("again", *RENEW)).status_code == 200


async def test_it_counts_once_it_is_confirmed_by_mail(world: World) -> None:
    phone = await enroll(world, BARE)
    assert (await world.call(BARE, "POST", "/v1/mfa/confirmations")).status_code == 202
    token = (await mailed(world, EMAIL, "factor_confirmation"))["token"]
    redeem = ("POST", "/v1/mfa/confirmations/redeem", {"token": token})
    assert await outcome(world, "viewer", *redeem) == (401, "INVALID_CONFIRMATION_TOKEN"), "another account"
    assert await outcome(world, BARE, *redeem) == (204, "")
    assert await outcome(world, BARE, *redeem) == (401, "INVALID_CONFIRMATION_TOKEN"), "used"
    assert await outcome(world, BARE, *RENEW) == (401, "MFA_REQUIRED"), "the mailbox alone is no second factor"
    assert await outcome(world, BARE, "POST", "/v1/mfa/step-up", {"code": phone.code()}) == (204, "")
    assert (await world.call(BARE, *RENEW)).status_code == 200


async def test_a_confirmation_is_good_for_an_hour_and_the_newest_counts(world: World) -> None:
    await enroll(world, BARE)
    tokens = []
    for _ in range(2):
        await world.call(BARE, "POST", "/v1/mfa/confirmations")
        tokens.append((await mailed(world, EMAIL, "factor_confirmation"))["token"])
    redeem = ("POST", "/v1/mfa/confirmations/redeem")
    assert await outcome(world, BARE, *redeem, {"token": tokens[0]}) == (401, "INVALID_CONFIRMATION_TOKEN")
    clock = world.foundation.clock
    assert isinstance(clock, ManualClock)
    clock.advance(minutes=61)
    assert await outcome(world, BARE, *redeem, {"token": tokens[1]}) == (401, "INVALID_CONFIRMATION_TOKEN")


async def test_mails_are_bounded(world: World) -> None:
    answers = [(await world.call(BARE, "POST", "/v1/mfa/confirmations")).status_code for _ in range(8)]
    assert answers == [202] * 5 + [429] * 3


async def test_a_session_that_has_shown_a_second_factor_vouches(world: World) -> None:
    """The owner's session has; the new app counts there at once, and everywhere."""
    phone = await enroll(world, "owner")
    assert (await world.call("owner", *RENEW)).status_code == 200
    await sign_in(world, "acme@example.com", phone)
    assert (await world.call("again", *RENEW)).status_code == 200


async def test_who_has_a_factor_shows_it_before_adding_another(world: World) -> None:
    """A stolen session must not put an app of its own in the place of the owner's."""
    await enroll(world, BARE)
    assert await outcome(world, BARE, "POST", "/v1/mfa/totp", {}) == (401, "MFA_REQUIRED")
    assert await outcome(world, BARE, "POST", "/v1/passkeys/register/begin") == (401, "MFA_REQUIRED")


async def test_staff_have_a_second_factor_from_joining_on(world: World) -> None:
    """It is part of joining; a mailed code opens no call of the platform."""
    made = await world.foundation.rbac.members.invite(PLATFORM_TENANT, "new@platform.example", "platform_admin", None)
    body = {"token": made.token, "password": PASSWORD}
    joined = await world.call("anonymous", "POST", "/v1/members/join", body)
    assert joined.status_code == 201 and joined.json()["mfa"]["secret"]
    challenge = await sign_in(world, "new@platform.example")
    assert challenge["mfa_methods"] == ["email_code"], "the app is there, and not confirmed yet"
    mail = await mailed(world, "new@platform.example", "sign_in_code")
    finish = {"challenge_id": challenge["challenge_id"], "code": mail["code"]}
    answer = await world.call("anonymous", "POST", "/v1/auth/mfa", finish)
    world.callers["new admin"] = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert await outcome(world, "new admin", "GET", "/v1/admin/manufacturers") == (401, "MFA_REQUIRED")
    phone = Phone(world, joined.json()["mfa"]["secret"])
    confirmed = await world.call("new admin", "POST", "/v1/mfa/totp/confirm", {"code": phone.code()})
    assert confirmed.json() == {"enabled": True}
    assert (await world.call("new admin", "GET", "/v1/admin/manufacturers")).status_code == 200
    with pytest.raises(AuthorizationError):
        account = joined.json()["account_id"]
        await world.foundation.auth.disable_mfa(PLATFORM_TENANT, phone.code(), account_id=account)


# --- enrollments that a thief begins early ------------------------------------------------------------------------


async def owners_session(world: World) -> str:
    """A second session of the bare owner, who has just shown a second factor; the thief has the first one."""
    await world.session("rightful", world.ids["manufacturer_id"], world.accounts["bare-owner"])
    return "rightful"


async def begin_passkey(world: World, caller: str) -> dict[str, Any]:
    begun = (await world.call(caller, "POST", "/v1/passkeys/register/begin")).json()
    made = SoftAuthenticator(origin=world.foundation.settings.public_url).create(begun["options"])
    return {"challenge_id": begun["challenge_id"], "credential": made, "name": caller}


async def test_a_passkey_begun_before_the_owner_has_a_factor_is_not_finished_after(world: World) -> None:
    stolen = await begin_passkey(world, BARE)
    await enroll(world, await owners_session(world))
    finish = ("POST", "/v1/passkeys/register/finish", stolen)
    assert await outcome(world, BARE, *finish) == (401, "MFA_REQUIRED")
    assert await world.foundation.store.list_passkeys(world.accounts["bare-owner"]) == []


async def test_an_app_begun_before_the_owner_has_a_factor_is_not_confirmed_after(world: World) -> None:
    begun = await world.call(BARE, "POST", "/v1/mfa/totp", {})
    owner = await owners_session(world)
    finish = ("POST", "/v1/passkeys/register/finish", await begin_passkey(world, owner))
    assert await outcome(world, owner, *finish) == (201, "")
    code = Phone(world, begun.json()["secret"]).code()
    assert await outcome(world, BARE, "POST", "/v1/mfa/totp/confirm", {"code": code}) == (401, "MFA_REQUIRED")
    assert not any(totp.active for totp in await world.foundation.store.list_totp(world.accounts["bare-owner"]))


async def test_a_passkey_added_on_the_spot_does_not_count_and_its_owner_is_told(world: World) -> None:
    finish = ("POST", "/v1/passkeys/register/finish", await begin_passkey(world, BARE))
    assert await outcome(world, BARE, *finish) == (201, "")
    assert await outcome(world, BARE, *RENEW) == (401, "MFA_REQUIRED")
    account = world.accounts["bare-owner"]
    assert await world.foundation.auth.factors_held_until(world.ids["manufacturer_id"], account_id=account)
    await mailed(world, EMAIL, "passkey_added")
