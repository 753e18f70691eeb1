"""Ways past a gateway that others fell for: two readings of one request, one account for another, and too many tries.

Each is tried from outside, over HTTP or by the public calls.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pyotp
import pytest
from fastapi import FastAPI, Request

from gatewright.auth import AccessOptions, AuthOptions, ManufacturerAuthManager
from gatewright.errors import (
    AccountLockedError,
    DuplicateAccountError,
    InvalidCredentialsError,
    InvalidTokenError,
    RateLimitExceededError,
)
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings
from gatewright.testing import ManualClock
from gatewright.web import create_app, install
from tests.auth.access import CHEAP
from tests.support.waiting import eventually

PASSWORD = "gravel-otter-lantern-4471"
OWNER = {
    "email": "master@example.com",
    "password": PASSWORD,
    "company_name": "Alder Works",
    "manufacturer_id": "mfr_alder",
}
OTHER = {**OWNER, "email": "other@example.com", "company_name": "Birch Works", "manufacturer_id": "mfr_birch"}
ATTACK = {"name": "<script>alert(document.cookie)</script>"}


@pytest.fixture
async def foundation() -> AsyncIterator[SecurityFoundation]:
    settings = Settings(database=":memory:", argon2_memory_kib=8, argon2_time_cost=1)
    async with SecurityFoundation(settings, notifier=MemoryNotifier(), clock=ManualClock()) as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mail() -> MemoryNotifier:
    return MemoryNotifier()


@pytest.fixture
async def auth(clock: ManualClock, mail: MemoryNotifier) -> AsyncIterator[ManufacturerAuthManager]:
    options = AuthOptions(access=AccessOptions(argon2=CHEAP))
    async with ManufacturerAuthManager(options=options, clock=clock, notifier=mail) as manager:
        yield manager


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


# --- one request, two readings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("content_type", ["application/json", "x/octets", "image/png", "text/xml", None])
async def test_no_encoding_carries_an_attack_to_a_framework(
    foundation: SecurityFoundation, encoding: str, content_type: str | None
) -> None:
    """``request.json()`` guesses the encoding of bytes, whatever type they claim."""
    app, reached = FastAPI(), []
    install(app, foundation)

    @app.post("/anything")
    async def anything(request: Request) -> None:
        reached.append(await request.json())

    async with client(app) as http:
        headers = {} if content_type is None else {"content-type": content_type}
        answer = await http.post("/anything", content=json.dumps(ATTACK).encode(encoding), headers=headers)
        # The first of two types decides here; an application may go by the last.
        doubled = [("content-type", "image/png"), ("content-type", "application/json")]
        again = await http.post("/anything", content=json.dumps(ATTACK).encode(encoding), headers=doubled)
    assert reached == []
    assert answer.status_code in (400, 403) and again.status_code in (400, 403)


@pytest.mark.parametrize("order", [(ATTACK["name"], "oak"), ("oak", ATTACK["name"])])
async def test_no_member_hides_behind_its_double(foundation: SecurityFoundation, order: tuple[str, str]) -> None:
    """CVE-2017-12635: one parser takes the first of two members, another the last."""
    app = FastAPI()
    install(app, foundation)

    @app.post("/anything")
    async def anything(request: Request) -> Any:
        return await request.json()

    body = '{{"name": {}, "name": {}}}'.format(*map(json.dumps, order))
    async with client(app) as http:
        answer = await http.post("/anything", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 403)


async def test_no_answer_is_built_from_the_host_header(foundation: SecurityFoundation) -> None:
    """A redirect to a host that the caller named poisons caches and leads people away."""
    async with client(create_app(foundation)) as http:
        for path in ("/v1/me/", "/v1/auth/login/", "/healthz/", "/v1/me", "/nowhere"):
            answer = await http.get(path, headers={"host": "evil.example", "x-forwarded-host": "evil.example"})
            assert answer.status_code in (401, 404, 405), path
            assert "evil.example" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("header", ["user-agent", "x-request-id", "forwarded", "x-device-token", "idempotency-key"])
async def test_no_header_writes_another_line(foundation: SecurityFoundation, header: str) -> None:
    """CWE-93 and CWE-117: what a caller sends is in no header of the answer, and in events as it came."""
    split = b"a\r\nSet-Cookie: session=evil\r\n\r\n<html>"
    async with client(create_app(foundation)) as http:
        answer = await http.get("/v1/me", headers=[(header.encode(), split)])
    assert "set-cookie" not in answer.headers
    assert "\r\n" not in "".join(answer.headers.values()) and "evil" not in answer.text


async def test_answers_are_as_long_for_strangers(foundation: SecurityFoundation) -> None:
    """Neither status, length nor fields tell whether an address is known."""
    await foundation.auth.register_manufacturer(OWNER)
    calls = {
        "/v1/auth/login": {"password": "wrong"},
        "/v1/auth/password/forgot": {},
        "/v1/passkeys/login/begin": {},
        "/v1/manufacturers": {"password": PASSWORD, "company_name": "Cedar Works"},
    }
    async with client(create_app(foundation)) as http:
        for path, body in calls.items():
            seen = [
                (answer.status_code, len(answer.content), sorted(answer.headers))
                for email in ("master@example.com", "masteq@example.com")
                for answer in [await http.post(path, json={"email": email, **body})]
            ]
            assert seen[0] == seen[1], path


# --- one account for another ------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["ma\u017fter@example.com", "MASTER@EXAMPLE.COM", " master@example\uff0ecom"])
async def test_a_reset_goes_to_the_address_that_is_stored(
    auth: ManufacturerAuthManager, mail: MemoryNotifier, typed: str
) -> None:
    """The collision of 2019: spellings that fold into one account, and the mail went to the one that was typed."""
    await auth.register_manufacturer(OWNER)
    await auth.request_password_reset(typed)
    await eventually(lambda: bool(mail.messages))
    assert {message.to for message in mail.messages} == {"master@example.com"}
    with pytest.raises(DuplicateAccountError):
        await auth.register_manufacturer({**OTHER, "email": typed})


async def test_tokens_of_one_kind_are_none_of_another(auth: ManufacturerAuthManager) -> None:
    await auth.register_manufacturer(OWNER)
    done = await auth.authenticate_manufacturer(OWNER["email"], PASSWORD)
    for token in (done.refresh_token, done.session_id):
        with pytest.raises(InvalidTokenError):
            await auth.validate_token(token or "")
    for token in (done.access_token, done.session_id):
        with pytest.raises(InvalidTokenError):
            await auth.refresh_tokens(token or "")


async def enrolled(auth: ManufacturerAuthManager, data: dict[str, str], clock: ManualClock) -> Any:
    await auth.register_manufacturer(data)
    enrolment = await auth.setup_mfa(data["manufacturer_id"])
    earlier = pyotp.TOTP(enrolment.secret).at(int(clock.timestamp()) - 30)
    await auth.confirm_mfa(data["manufacturer_id"], earlier)
    return enrolment


async def test_nobody_answers_with_the_factor_of_another(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """A challenge takes the codes of its own account only, and those of another are not used up by it."""
    await enrolled(auth, OWNER, clock)
    theirs = await enrolled(auth, OTHER, clock)
    challenge = await auth.authenticate_manufacturer(OWNER["email"], PASSWORD)
    for code in (pyotp.TOTP(theirs.secret).at(int(clock.timestamp())), theirs.backup_codes[0]):
        with pytest.raises(InvalidCredentialsError):
            await auth.complete_mfa(challenge.challenge_id or "", code, client=None)
    assert await auth.verify_backup_code(OTHER["manufacturer_id"], theirs.backup_codes[0])


# --- too many tries ---------------------------------------------------------------------------------------------


async def test_guesses_at_once_are_no_more_than_one_after_another(
    auth: ManufacturerAuthManager, clock: ManualClock
) -> None:
    """The limit race: sixty codes at the same moment, of which at most ten are looked at."""
    enrolment = await enrolled(auth, OWNER, clock)
    near = {pyotp.TOTP(enrolment.secret).at(int(clock.timestamp()) + 30 * step) for step in range(-3, 4)}
    codes = [code for code in (f"{number:06d}" for number in range(70)) if code not in near][:60]
    answers = await asyncio.gather(
        *(auth.verify_mfa_token(OWNER["manufacturer_id"], code) for code in codes), return_exceptions=True
    )
    assert sum(answer is False for answer in answers) <= 10
    assert all(answer is False or isinstance(answer, RateLimitExceededError | AccountLockedError) for answer in answers)


async def test_new_challenges_give_no_new_guesses(auth: ManufacturerAuthManager, clock: ManualClock) -> None:
    """The count is the account's, not that of a challenge, which an attacker with the password makes at will."""
    enrolment = await enrolled(auth, OWNER, clock)
    near = {pyotp.TOTP(enrolment.secret).at(int(clock.timestamp()) + 30 * step) for step in range(-3, 4)}
    looked_at = 0
    for number in range(40):
        code = f"{number:06d}"
        try:
            challenge = await auth.authenticate_manufacturer(OWNER["email"], PASSWORD)
            await auth.complete_mfa(challenge.challenge_id or "", "xxxxxx" if code in near else code, client=None)
        except InvalidCredentialsError:
            looked_at += 1
        except (RateLimitExceededError, AccountLockedError):
            pass
    assert 1 <= looked_at <= 10
