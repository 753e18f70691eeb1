"""Codes as people type and paste them: in groups, full-width, with a trailing newline. Every path reads them alike."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest

from gatewright.errors import InvalidCredentialsError
from gatewright.notify import Message
from tests.auth.access import EMAIL, PASSWORD, World, world
from tests.auth.identity import HOME

TYPED = {
    "space": lambda code: f"{code[:3]} {code[3:]}",
    "dash": lambda code: f"{code[:3]}-{code[3:]}",
    "en dash": lambda code: f"{code[:3]}\u2013{code[3:]}",
    "no-break space": lambda code: f"{code[:3]}\u00a0{code[3:]}",
    "thin space": lambda code: f"{code[:3]}\u2009{code[3:]}",
    "full width": lambda code: "".join(chr(0xFF10 + int(digit)) for digit in code),
    "newline": lambda code: f"{code}\n",
    "tab and spaces": lambda code: f"\t {code}  ",
    "pairs": lambda code: f"{code[:2]} {code[2:4]} {code[4:]}",
}
NEW_PASSWORD = "marmalade-otter-violin"


async def verify(here: World, code: str) -> None:
    assert await here.auth.verify_mfa_token("mfr_acme", code)


async def complete(here: World, code: str) -> None:
    asked = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
    assert (await here.auth.complete_mfa(asked.challenge_id or "", code, client=HOME)).status == "authenticated"


async def authenticate(here: World, code: str) -> None:
    assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, code, client=HOME)).status == "authenticated"


async def step_up(here: World, code: str) -> None:
    session = await here.auth.create_session(
        {"manufacturer_id": "mfr_acme", "company_name": "Acme", "email": EMAIL, "tier": "professional"}
    )
    await here.auth.step_up(session.session_id, code)


async def reset(here: World, code: str) -> None:
    await here.auth.request_password_reset(EMAIL)
    await here.auth.services.mailer.drain()
    mail: Message = next(m for m in here.mailbox.messages if m.kind == "reset_password")
    await here.auth.reset_password(str(mail.data["token"]), NEW_PASSWORD, mfa_code=code)


async def disable(here: World, code: str) -> None:
    assert await here.auth.disable_mfa("mfr_acme", code)


PATHS: list[Callable[[World, str], Awaitable[None]]] = [verify, complete, authenticate, step_up, reset, disable]


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_a_typed_code_is_accepted_on_every_path(
    path: Callable[[World, str], Awaitable[None]], typed: str
) -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        await path(here, TYPED[typed](here.code(enrolment.secret)))


@pytest.mark.parametrize("typed", TYPED)
async def test_a_typed_code_confirms_the_enrolment(typed: str) -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        assert await here.auth.confirm_mfa("mfr_acme", TYPED[typed](here.code(enrolment.secret)))


async def test_the_drift_hint_reads_typed_codes() -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        late = here.code(enrolment.secret, steps=3)
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.confirm_mfa("mfr_acme", f"{late[:3]} {late[3:]}")
        assert caught.value.context["drift_seconds"] == 90


async def test_a_code_in_two_spellings_is_one_code() -> None:
    """Another spelling of a used code is a replay, never a second use."""
    async with world() as here:
        enrolment = await here.enrolled()
        code = here.code(enrolment.secret)
        assert await here.auth.verify_mfa_token("mfr_acme", code)
        for spelling in TYPED.values():
            assert not await here.auth.verify_mfa_token("mfr_acme", spelling(code))
        assert here.sink.kinds().count("auth:mfa:replayed") == len(TYPED)


@pytest.mark.parametrize("code", ["١٢٣٤٥٦", "①②③④⑤⑥", "12.34.56", "1 2 3 4 5 6 7", " " * 100_000 + "123456"])
async def test_what_no_app_shows_is_no_guess_and_costs_nothing(code: str) -> None:
    async with world() as here:
        await here.enrolled()
        begun = time.thread_time()
        for _ in range(20):
            assert not await here.auth.verify_mfa_token("mfr_acme", code)
        assert time.thread_time() - begun < 1
        assert "auth:mfa:failed" not in here.sink.kinds()
