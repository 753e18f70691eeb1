"""Every path that yields a session, listed; each goes through the one function that issues them."""

from __future__ import annotations

import ast
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import gatewright.auth
from gatewright.auth import AuthResult, Factor
from gatewright.errors import MFARequiredError
from tests.auth.access import EMAIL, PASSWORD, World, world
from tests.auth.authenticator import SoftAuthenticator
from tests.auth.identity import CHROME, HOME
from tests.auth.mfa.test_devices import on

SOURCES = sorted(Path(gatewright.auth.__file__).parent.rglob("*.py"))


def calls_of(name: str) -> list[str]:
    """Where a method of this name is called in the package, as ``module.function``."""
    found = []
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                        owner = ast.unparse(node.func.value)
                        found.append(f"{path.stem}.{function.name}:{owner}")
    return sorted(found)


def test_only_one_function_begins_a_session_with_tokens() -> None:
    assert [c for c in calls_of("begin") if "refresh" in c] == ["issuer.issue:self._refresh"]
    assert [c for c in calls_of("issue") if c.endswith("_issuer")] == ["sign_in._issue:self._issuer"]
    assert calls_of("_issue") == [
        "sign_in._after_password:self",
        "sign_in._after_password:self",
        "sign_in._after_password:self",
        "sign_in.complete_mfa:self",
        "sign_in.finish_passkey:self",
    ]
    creating = [c for c in calls_of("create") if c.endswith("sessions")]
    assert creating == ["issuer.issue:self._sessions", "manager.create_session:self.sessions"]


async def by_password(here: World) -> AuthResult:
    return await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)


async def by_code_in_one_call(here: World) -> AuthResult:
    enrolment = await here.enrolled()
    return await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, here.code(enrolment.secret), client=HOME)


async def by_totp(here: World) -> AuthResult:
    enrolment = await here.enrolled()
    challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
    return await here.auth.complete_mfa(challenge.challenge_id or "", here.code(enrolment.secret), client=HOME)


async def by_backup_code(here: World) -> AuthResult:
    enrolment = await here.enrolled()
    challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
    return await here.auth.complete_mfa(challenge.challenge_id or "", enrolment.backup_codes[0], client=HOME)


async def by_mailed_code(here: World) -> AuthResult:
    await here.auth.reset_mfa("mfr_acme", actor="staff", reason="test")
    challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
    code = here.mailbox.last(EMAIL, kind="sign_in_code").data["code"]
    return await here.auth.complete_mfa(challenge.challenge_id or "", code, client=HOME)


async def registered(here: World) -> SoftAuthenticator:
    key = SoftAuthenticator()
    begun = await here.auth.begin_passkey_registration("mfr_acme")
    await here.auth.finish_passkey_registration(begun.challenge_id, key.create(begun.options))
    return key


async def by_passkey_as_second_factor(here: World) -> AuthResult:
    key = await registered(here)
    challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
    assert challenge.challenge_id is not None
    begun = await here.auth.begin_passkey_login(client=HOME, challenge_id=challenge.challenge_id)
    return await here.auth.complete_mfa(challenge.challenge_id, key.get(begun.options), client=HOME)


async def by_passkey_alone(here: World) -> AuthResult:
    key = await registered(here)
    begun = await here.auth.begin_passkey_login(client=HOME)
    return await here.auth.finish_passkey_login(begun.challenge_id, key.get(begun.options), client=HOME)


async def by_trusted_device(here: World) -> AuthResult:
    await here.enrolled()
    device = await here.auth.register_trusted_device("mfr_acme", HOME)
    return await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=on(device.device_token, agent=CHROME))


async def by_refresh(here: World) -> AuthResult:
    first = await by_totp(here)
    return await here.auth.refresh_tokens(first.refresh_token or "", client=HOME)


Path_ = Callable[[World], Awaitable[AuthResult]]

PATHS: dict[str, tuple[Path_, set[str]]] = {
    "password": (by_password, {"pwd"}),
    "password and code": (by_code_in_one_call, {"pwd", "otp"}),
    "totp": (by_totp, {"pwd", "otp"}),
    "backup code": (by_backup_code, {"pwd", "backup_code"}),
    "mailed code": (by_mailed_code, {"pwd", "email_code"}),
    "passkey as second factor": (by_passkey_as_second_factor, {"pwd", "passkey"}),
    "passkey alone": (by_passkey_alone, {"passkey"}),
    "trusted device": (by_trusted_device, {"pwd", "device"}),
    "refresh": (by_refresh, {"pwd", "otp"}),
}


@pytest.mark.parametrize("name", PATHS)
async def test_each_path_has_its_factors_its_event_and_its_refresh_family(name: str) -> None:
    path, factors = PATHS[name]
    async with world() as here:
        done = await path(here)
        assert done.status == "authenticated" and done.session_id is not None
        session = await here.auth.get_session_info(done.session_id)
        assert session is not None and set(session.factors) == factors
        second = factors - {"pwd", "device"}
        assert (session.mfa_at is not None) is bool(second)
        assert "auth:login:succeeded" in here.sink.kinds()
        again = await here.auth.refresh_tokens(done.refresh_token or "", client=HOME)
        assert again.session_id == done.session_id
        await here.auth.validate_token(done.access_token or "")


@pytest.mark.parametrize("factors", [frozenset({Factor.PASSWORD.value}), frozenset()])
async def test_the_last_gate_lets_nobody_without_a_second_factor_pass(factors: Any) -> None:
    async with world() as here:
        await here.enrolled()
        person = await here.auth.services.directory.of("mfr_acme")
        with pytest.raises(MFARequiredError):
            await here.auth.services.issuer.issue(person.account, person.manufacturer, HOME, factors=factors)
        assert "auth:mfa:bypass_refused" in here.sink.kinds()


async def test_a_password_reset_signs_nobody_in() -> None:
    async with world() as here:
        await here.auth.request_password_reset(EMAIL)
        token = here.mailbox.last(kind="reset_password").data["token"]
        assert await here.auth.reset_password(token, "Marmalade-otter-77") is None  # type: ignore[func-returns-value] # that is the point
        assert await here.auth.list_sessions("mfr_acme") == []
