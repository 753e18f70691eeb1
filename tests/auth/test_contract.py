"""The names of the contract, as callers bring and use them, over the whole of the manager."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest

import gatewright
import gatewright.auth
from gatewright.auth import ClientInfo, ManufacturerAuthManager
from gatewright.errors import AuthenticationError, InvalidCredentialsError, MFARequiredError
from gatewright.performance import timings
from gatewright.testing import ManualClock
from tests.auth.access import EMAIL, PASSWORD, world
from tests.auth.identity import ACME, CHROME, HOME

CALLS = [
    "register_manufacturer",
    "authenticate_manufacturer",
    "complete_mfa",
    "generate_manufacturer_token",
    "validate_token",
    "refresh_tokens",
    "revoke_token",
    "rotate_signing_key",
    "request_password_reset",
    "reset_password",
    "change_password",
    "create_session",
    "validate_session",
    "get_session_info",
    "list_sessions",
    "refresh_session",
    "rotate_session",
    "invalidate_session",
    "invalidate_sessions",
    "detect_session_hijacking",
    "assess_session_risk",
    "cleanup_expired_sessions",
    "setup_mfa",
    "confirm_mfa",
    "verify_mfa_token",
    "generate_backup_codes",
    "verify_backup_code",
    "disable_mfa",
    "register_trusted_device",
    "verify_device",
    "list_devices",
    "revoke_device",
    "begin_passkey_registration",
    "finish_passkey_registration",
    "begin_passkey_login",
    "finish_passkey_login",
    "create_api_key",
    "verify_api_key",
    "list_api_keys",
    "revoke_api_key",
    "require_recent_mfa",
    "initialize",
    "close",
]

PARAMETERS = {
    "authenticate_manufacturer": ["email", "password", "mfa_code", "client"],
    "complete_mfa": ["challenge_id", "code_or_assertion", "client", "remember_device"],
    "generate_manufacturer_token": ["manufacturer_data", "expires_in"],
    "validate_token": ["token"],
    "refresh_tokens": ["refresh_token", "client"],
    "reset_password": ["token", "new_password", "mfa_code"],
    "rotate_session": ["session_id", "new_tier"],
    "invalidate_sessions": ["manufacturer_id", "reason", "except_session"],
    "create_api_key": ["manufacturer_id", "name", "permissions", "expires_at"],
    "require_recent_mfa": ["session_id", "max_age"],
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_there_and_async(name: str) -> None:
    call = getattr(ManufacturerAuthManager, name)
    assert inspect.iscoroutinefunction(call) and inspect.getdoc(call)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_have_their_names(name: str) -> None:
    found = list(inspect.signature(getattr(ManufacturerAuthManager, name)).parameters)[1:]
    assert [parameter for parameter in found if parameter in PARAMETERS[name]] == PARAMETERS[name]


def test_the_public_face() -> None:
    """Everything is importable from the package, and from ``gatewright``; jwks is sync."""
    for name in gatewright.auth.__all__:
        value = getattr(gatewright.auth, name)
        assert not isinstance(value, type) or value.__name__ == name
    for name in ("ManufacturerAuthManager", "ClientInfo", "AuthResult", "ManufacturerSession", "MFAEnrolment"):
        assert getattr(gatewright, name) is getattr(gatewright.auth, name)
    with pytest.raises(AttributeError):
        _ = gatewright.auth.Nothing
    assert not inspect.iscoroutinefunction(ManufacturerAuthManager.jwks)
    assert ClientInfo("203.0.113.9", CHROME) == HOME
    positional = ManufacturerAuthManager("s" * 32, "HS256", 1)
    assert positional.jwks() == {"keys": []}


async def test_the_default_lifetime_is_the_managers() -> None:
    clock = ManualClock()
    async with ManufacturerAuthManager("s" * 32, "HS256", 2, clock=clock) as auth:
        claims = await auth.validate_token(await auth.generate_manufacturer_token(ACME))
        assert claims["exp"] - claims["iat"] == 7200


async def test_step_up_in_a_session() -> None:
    """Signed in by a trusted device, which is no recent proof; a code is, for a while."""
    async with world() as here:
        enrolment = await here.enrolled()
        device = await here.auth.register_trusted_device("mfr_acme", client=HOME)
        client = ClientInfo(HOME.ip_address, HOME.user_agent, device.device_token)
        result = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=client)
        session_id = result.session_id or ""
        with pytest.raises(MFARequiredError):
            await here.auth.require_recent_mfa(session_id, max_age=timedelta(minutes=5))
        with pytest.raises(InvalidCredentialsError):
            await here.auth.confirm_session_mfa(session_id, "000000", client=client)
        with pytest.raises(AuthenticationError):
            await here.auth.confirm_session_mfa("unknown", here.code(enrolment.secret))
        await here.auth.confirm_session_mfa(session_id, here.code(enrolment.secret), client=client)
        await here.auth.require_recent_mfa(session_id, max_age=timedelta(minutes=5))
        here.clock.advance(301)
        with pytest.raises(MFARequiredError):
            await here.auth.require_recent_mfa(session_id, max_age=300)
        await here.auth.confirm_session_mfa(session_id, enrolment.backup_codes[0], client=client)
        await here.auth.require_recent_mfa(session_id)


async def test_a_password_change_ends_the_others() -> None:
    """The session in which it happened continues; tokens of the others are dead, those of none as well."""
    async with world() as here:
        mine, other = [await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME) for _ in range(2)]
        owner = (mine.manufacturer or {})["account_id"]
        claims = ({**ACME}, {**ACME, "account_id": owner}, {**ACME, "account_id": "acc_colleague"})
        *loose, colleague = [await here.auth.generate_manufacturer_token(data) for data in claims]
        await here.auth.change_password("mfr_acme", PASSWORD, "Quartz-meadow-77-lamp", session_id=mine.session_id)
        assert await here.auth.validate_token(mine.access_token or "")
        with pytest.raises(AuthenticationError):
            await here.auth.validate_token(other.access_token or "")
        with pytest.raises(AuthenticationError):
            await here.auth.refresh_tokens(other.refresh_token or "", client=HOME)
        for token in loose:
            with pytest.raises(AuthenticationError):
                await here.auth.validate_token(token)
        assert await here.auth.validate_token(colleague)
        assert len(await here.auth.list_sessions("mfr_acme")) == 1


async def test_budgets_are_told_by_the_managers_name() -> None:
    """Under the name that a caller knows, whatever module the call lives in."""
    async with ManufacturerAuthManager() as auth:
        await auth.validate_token(await auth.generate_manufacturer_token(ACME))
    figures = timings()
    assert figures["ManufacturerAuthManager.generate_manufacturer_token"].budget == 0.1
    assert figures["ManufacturerAuthManager.validate_token"].budget == 0.05
