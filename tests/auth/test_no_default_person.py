"""In a foundation no call acts on the owner because an account id was left out, nor on an account of another tenant.

The table names every public call with an optional ``account_id``; the first test reads the calls off the manager, so
that a new one without a row fails.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pyotp
import pytest

from gatewright.auth import ClientInfo, ManufacturerAuthManager
from gatewright.errors import (
    AuthorizationError,
    InsufficientPermissionsError,
    InvalidCredentialsError,
    SecurityError,
    ValidationError,
)
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.rbac import ManufacturerContext
from gatewright.settings import Settings
from gatewright.testing import ManualClock
from tests.auth.authenticator import SoftAuthenticator

PASSWORD = "gravel-otter-lantern-4471"
NEW_PASSWORD = "quartz-meadow-lamp-7714"
HOME = ClientInfo("203.0.113.9", "test")


@dataclass
class Tenant:
    """A manufacturer whose owner has everything that a call could act on."""

    manufacturer_id: str
    email: str
    account_id: str = ""
    totp: str = ""
    backup_codes: list[str] = field(default_factory=list)
    device_id: str = ""
    device_token: str = ""
    passkey_id: str = ""
    key_id: str = ""


@dataclass
class Scene:
    """Two tenants, and the manager that is asked about them."""

    auth: ManufacturerAuthManager
    clock: ManualClock
    alder: Tenant
    birch: Tenant

    async def state(self) -> dict[str, Any]:
        """All that the store keeps of both owners' ways in."""
        store, now = self.auth.store, self.clock.now()
        found: dict[str, Any] = {}
        for tenant in (self.alder, self.birch):
            account = await store.get_account(tenant.account_id)
            assert account is not None
            found[tenant.manufacturer_id] = {
                "password": account.password_hash,
                "totp": [one.to_dict() for one in await store.list_totp(tenant.account_id)],
                "backup_codes": await store.count_backup_codes(tenant.account_id),
                "devices": [one.to_dict() for one in await store.list_devices(tenant.account_id, now=now)],
                "passkeys": [one.to_dict() for one in await store.list_passkeys(tenant.account_id)],
                "keys": [one.to_dict() for one in await store.list_api_keys(tenant.manufacturer_id)],
                "sessions": [one.session_id for one in await store.list_sessions(tenant.manufacturer_id, now=now)],
            }
        return found


Call = Callable[[Scene, Any, dict[str, Any]], Awaitable[Any]]


async def _finish_passkey(scene: Scene, manufacturer_id: str, who: dict[str, Any]) -> Any:
    begun = await scene.auth.begin_passkey_registration(manufacturer_id, account_id=scene.alder.account_id or None)
    return await scene.auth.finish_passkey_registration(
        begun.challenge_id, SoftAuthenticator().create(begun.options), **who
    )


async def _confirm_factor(scene: Scene, manufacturer_id: str, who: dict[str, Any]) -> Any:
    owner = scene.alder.account_id or (await scene.auth.services.directory.of("mfr_alder")).account_id
    token = await scene.auth.services.challenges.create("factor-confirmation", owner, lifetime=timedelta(minutes=5))
    return await scene.auth.confirm_factor(manufacturer_id, token, **who)


CALLS: dict[str, Call] = {
    "setup_mfa": lambda s, m, who: s.auth.setup_mfa(m, **who),
    "confirm_mfa": lambda s, m, who: s.auth.confirm_mfa(m, pyotp.TOTP(s.alder.totp).at(s.clock.now()), **who),
    "verify_mfa_token": lambda s, m, who: s.auth.verify_mfa_token(m, pyotp.TOTP(s.alder.totp).at(s.clock.now()), **who),
    "generate_backup_codes": lambda s, m, who: s.auth.generate_backup_codes(m, **who),
    "verify_backup_code": lambda s, m, who: s.auth.verify_backup_code(m, s.alder.backup_codes[0], **who),
    "mfa_enabled": lambda s, m, who: s.auth.mfa_enabled(m, **who),
    "disable_mfa": lambda s, m, who: s.auth.disable_mfa(m, s.alder.backup_codes[1], **who),
    "reset_mfa": lambda s, m, who: s.auth.reset_mfa(m, actor="staff", reason="phone lost", **who),
    "register_trusted_device": lambda s, m, who: s.auth.register_trusted_device(m, HOME, **who),
    "verify_device": lambda s, m, who: s.auth.verify_device(m, s.alder.device_token, **who),
    "list_devices": lambda s, m, who: s.auth.list_devices(m, **who),
    "revoke_device": lambda s, m, who: s.auth.revoke_device(m, s.alder.device_id, **who),
    "begin_passkey_registration": lambda s, m, who: s.auth.begin_passkey_registration(m, **who),
    "finish_passkey_registration": _finish_passkey,
    "list_passkeys": lambda s, m, who: s.auth.list_passkeys(m, **who),
    "remove_passkey": lambda s, m, who: s.auth.remove_passkey(m, s.alder.passkey_id, **who),
    "change_password": lambda s, m, who: s.auth.change_password(m, PASSWORD, NEW_PASSWORD, **who),
    "create_api_key": lambda s, m, who: s.auth.create_api_key(m, "ci", permissions=["api_access"], **who),
    "rotate_api_key": lambda s, m, who: s.auth.rotate_api_key(m, s.alder.key_id, **who),
    "factors_held_until": lambda s, m, who: s.auth.factors_held_until(m, **who),
    "request_factor_confirmation": lambda s, m, who: s.auth.request_factor_confirmation(m, **who),
    "confirm_factor": _confirm_factor,
}
OF_EVERYBODY = {"invalidate_sessions"}
"""Calls that act on everyone where no account is named, and say so."""
BY_MANUFACTURER = sorted(CALLS.keys() - {"finish_passkey_registration"})


async def _furnish(foundation: SecurityFoundation, clock: ManualClock, tenant: Tenant) -> None:
    auth, m = foundation.auth, tenant.manufacturer_id
    data = {"email": tenant.email, "password": PASSWORD, "company_name": f"{m[4:].title()} Works", "tier": "enterprise"}
    tenant.account_id = (await auth.register_manufacturer({**data, "manufacturer_id": m})).account_id
    who: dict[str, Any] = {"account_id": tenant.account_id}
    await auth.authenticate_manufacturer(tenant.email, PASSWORD, client=HOME)
    enrolment = await auth.setup_mfa(m, **who)
    tenant.totp, tenant.backup_codes = enrolment.secret, enrolment.backup_codes
    await auth.confirm_mfa(m, pyotp.TOTP(enrolment.secret).at(clock.now()), **who)
    device = await auth.register_trusted_device(m, HOME, **who)
    tenant.device_id, tenant.device_token = device.device_id, device.device_token or ""
    begun = await auth.begin_passkey_registration(m, **who)
    made = await auth.finish_passkey_registration(begun.challenge_id, SoftAuthenticator().create(begun.options), **who)
    tenant.passkey_id = made.passkey_id
    key = await auth.create_api_key(m, "nightly", permissions=["api_access", "export_data"], **who)
    tenant.key_id = key.key_id


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = ManualClock()
    settings = Settings(database=":memory:", argon2_memory_kib=8, argon2_time_cost=1)
    async with SecurityFoundation(settings, notifier=MemoryNotifier(), clock=clock) as foundation:
        alder = Tenant("mfr_alder", "owner@alder.example")
        birch = Tenant("mfr_birch", "owner@birch.example")
        for tenant in (alder, birch):
            await _furnish(foundation, clock, tenant)
        clock.advance(60)
        yield Scene(foundation.auth, clock, alder, birch)


def with_optional_account() -> set[str]:
    """The public calls whose ``account_id`` may be left out."""
    found = set()
    for name, call in inspect.getmembers(ManufacturerAuthManager, inspect.isfunction):
        parameter = inspect.signature(call).parameters.get("account_id")
        if not name.startswith("_") and parameter is not None and parameter.default is None:
            found.add(name)
    return found


def test_the_table_has_every_call_with_an_optional_account() -> None:
    assert with_optional_account() - OF_EVERYBODY == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
async def test_without_an_account_a_foundation_refuses_and_changes_nothing(scene: Scene, name: str) -> None:
    before = await scene.state()
    with pytest.raises(ValidationError) as caught:
        await CALLS[name](scene, "mfr_alder", {})
    assert caught.value.code == "ACCOUNT_ID_REQUIRED"
    assert "account_id" in caught.value.message
    assert [error.field for error in caught.value.errors] == ["account_id"]
    assert await scene.state() == before


@pytest.mark.parametrize("name", CALLS)
async def test_an_account_of_another_tenant_is_refused_and_nothing_changes(scene: Scene, name: str) -> None:
    before = await scene.state()
    with pytest.raises((AuthorizationError, InvalidCredentialsError)) as caught:
        await CALLS[name](scene, "mfr_alder", {"account_id": scene.birch.account_id})
    assert caught.value.code in ("UNKNOWN_MANUFACTURER", "INVALID_PASSKEY")
    assert await scene.state() == before


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("account_id", ["", "mfr_alder", "owner:mfr_alder", "acc_nobody", "x" * 129, 7])
async def test_what_names_nobody_is_never_the_owner(scene: Scene, name: str, account_id: Any) -> None:
    """The manufacturer's own id represents it as a whole in tokens without a person; a person it is not."""
    before = await scene.state()
    with pytest.raises((AuthorizationError, ValidationError)):
        await CALLS[name](scene, "mfr_alder", {"account_id": account_id})
    assert await scene.state() == before


@pytest.mark.parametrize("name", CALLS)
async def test_a_disabled_person_is_refused(scene: Scene, name: str) -> None:
    await _colleague(scene, "acc_off", status="disabled")
    before = await scene.state()
    with pytest.raises(AuthorizationError) as caught:
        await CALLS[name](scene, "mfr_alder", {"account_id": "acc_off"})
    assert caught.value.code == "UNKNOWN_MANUFACTURER"
    assert await scene.state() == before


@pytest.mark.parametrize("name", CALLS)
async def test_with_the_account_each_call_acts(scene: Scene, name: str) -> None:
    await CALLS[name](scene, "mfr_alder", {"account_id": scene.alder.account_id})


@pytest.mark.parametrize("name", CALLS)
async def test_built_alone_the_short_form_stays(name: str) -> None:
    clock = ManualClock()
    async with ManufacturerAuthManager(clock=clock) as auth:
        scene = Scene(auth, clock, Tenant("mfr_alder", ""), Tenant("mfr_birch", ""))
        enrolment = await auth.setup_mfa("mfr_alder")
        scene.alder.totp, scene.alder.backup_codes = enrolment.secret, enrolment.backup_codes
        scene.alder.key_id = (await auth.create_api_key("mfr_alder", "ci", permissions=["api_access"])).key_id
        if name == "change_password":
            with pytest.raises(InvalidCredentialsError):  # no one the manager knows has a password
                await CALLS[name](scene, "mfr_alder", {})
        else:
            await CALLS[name](scene, "mfr_alder", {})


# --- a caller's context in place of the id ----------------------------------------------------------------------


def _context(manufacturer_id: str, account_id: str | None) -> ManufacturerContext:
    return ManufacturerContext(manufacturer_id, account_id=account_id)


@pytest.mark.parametrize("name", BY_MANUFACTURER)
async def test_a_context_carries_the_account(scene: Scene, name: str) -> None:
    await CALLS[name](scene, _context("mfr_alder", scene.alder.account_id), {})


@pytest.mark.parametrize("name", BY_MANUFACTURER)
async def test_a_context_without_a_person_or_with_another_is_refused(scene: Scene, name: str) -> None:
    before = await scene.state()
    mine, theirs = scene.alder.account_id, scene.birch.account_id
    for context, who, code in (
        (_context("mfr_alder", None), {}, "ACCOUNT_ID_REQUIRED"),
        (_context("mfr_alder", theirs), {}, "UNKNOWN_MANUFACTURER"),
        (_context("mfr_alder", "mfr_alder"), {}, "UNKNOWN_MANUFACTURER"),
        (_context("mfr_birch", theirs), {"account_id": mine}, "ACCOUNT_ID_MISMATCH"),
    ):
        with pytest.raises(SecurityError) as caught:
            await CALLS[name](scene, context, who)
        assert caught.value.code == code
    assert await scene.state() == before


# --- passkeys ---------------------------------------------------------------------------------------------------


async def test_a_passkey_is_finished_by_the_account_that_began(scene: Scene) -> None:
    """A challenge that leaked to a colleague, or to another tenant, puts no key of theirs on the account."""
    await _colleague(scene, "acc_colleague", role="developer")
    for account_id in ("acc_colleague", scene.birch.account_id):
        begun = await scene.auth.begin_passkey_registration("mfr_alder", account_id=scene.alder.account_id)
        credential = SoftAuthenticator().create(begun.options)
        with pytest.raises(InvalidCredentialsError):
            await scene.auth.finish_passkey_registration(begun.challenge_id, credential, account_id=account_id)
    assert len(await scene.auth.list_passkeys("mfr_alder", account_id=scene.alder.account_id)) == 1
    assert await scene.auth.list_passkeys("mfr_alder", account_id="acc_colleague") == []


async def test_a_person_disabled_between_begin_and_finish_gets_no_passkey(scene: Scene) -> None:
    begun = await scene.auth.begin_passkey_registration("mfr_alder", account_id=scene.alder.account_id)
    credential = SoftAuthenticator().create(begun.options)
    await scene.auth.store.update_account(scene.alder.account_id, status="disabled")
    with pytest.raises(AuthorizationError):
        await scene.auth.finish_passkey_registration(begun.challenge_id, credential, account_id=scene.alder.account_id)


# --- API keys ---------------------------------------------------------------------------------------------------


async def test_a_rotated_key_belongs_to_who_rotates_it(scene: Scene) -> None:
    """A viewer who rotates the owner's key would else hold a key that speaks for the owner."""
    for role in ("viewer", "owner"):
        await _colleague(scene, f"acc_{role}", role=role)
    with pytest.raises(InsufficientPermissionsError):
        await scene.auth.rotate_api_key("mfr_alder", scene.alder.key_id, account_id="acc_viewer")
    assert [key.key_id for key in await scene.auth.list_api_keys("mfr_alder")] == [scene.alder.key_id]
    made = await scene.auth.rotate_api_key("mfr_alder", scene.alder.key_id, account_id="acc_owner")
    assert (await scene.auth.verify_api_key(made.key or "")).account_id == "acc_owner"


async def test_ones_own_key_is_rotated_whatever_the_tier_has_become(scene: Scene) -> None:
    """A key that leaked must go even where its permissions have shrunk; without ``api_access`` none of them works."""
    await scene.auth.store.update_manufacturer("mfr_alder", tier="free")
    made = await scene.auth.rotate_api_key("mfr_alder", scene.alder.key_id, account_id=scene.alder.account_id)
    with pytest.raises(InsufficientPermissionsError, match="api_access"):
        await scene.auth.verify_api_key(made.key or "")


# --- sessions and tokens ----------------------------------------------------------------------------------------


async def test_a_session_without_a_person_is_nobodys(scene: Scene) -> None:
    session = await scene.auth.create_session({"manufacturer_id": "mfr_alder"})
    assert session.account_id is None
    before = await scene.state()
    code = pyotp.TOTP(scene.alder.totp).at(scene.clock.now())
    for proof in (code, scene.alder.backup_codes[0]):
        for show in (scene.auth.step_up, scene.auth.confirm_session_mfa):
            with pytest.raises(ValidationError) as caught:
                await show(session.session_id, proof)
            assert caught.value.code == "ACCOUNT_ID_REQUIRED"
    with pytest.raises(SecurityError):
        await scene.auth.require_recent_mfa(session.session_id)
    assert await scene.state() == before, "the owner's codes are not used up by it"


async def test_a_session_is_of_a_person_of_its_manufacturer(scene: Scene) -> None:
    data = {"manufacturer_id": "mfr_alder", "account_id": scene.alder.account_id}
    assert (await scene.auth.create_session(data)).account_id == scene.alder.account_id
    for account_id in (scene.birch.account_id, "acc_nobody", "mfr_alder", ""):
        with pytest.raises((AuthorizationError, ValidationError)):
            await scene.auth.create_session({**data, "account_id": account_id})


async def test_sessions_without_a_person_put_nobody_out() -> None:
    """They are counted among themselves: making many must not end those of people."""
    settings = Settings(database=":memory:", argon2_memory_kib=8, argon2_time_cost=1)
    async with SecurityFoundation(settings, notifier=MemoryNotifier()) as foundation:
        tenant = Tenant("mfr_alder", "owner@alder.example")
        data = {
            "email": tenant.email,
            "password": PASSWORD,
            "company_name": "Alder Works",
            "manufacturer_id": "mfr_alder",
        }
        await foundation.auth.register_manufacturer(data)
        person = await foundation.auth.authenticate_manufacturer(tenant.email, PASSWORD, client=HOME)
        limit = foundation.auth.options.sessions.limit or 20
        made = [await foundation.auth.create_session({"manufacturer_id": "mfr_alder"}) for _ in range(limit + 3)]
        assert await foundation.auth.validate_session(person.session_id or "")
        assert await foundation.auth.validate_session(made[-1].session_id)


async def test_they_end_with_the_owners_password(scene: Scene) -> None:
    session = await scene.auth.create_session({"manufacturer_id": "mfr_alder"})
    kept = await scene.auth.create_session({"manufacturer_id": "mfr_birch"})
    await scene.auth.change_password("mfr_alder", PASSWORD, NEW_PASSWORD, account_id=scene.alder.account_id)
    assert not await scene.auth.validate_session(session.session_id)
    assert await scene.auth.validate_session(kept.session_id)


async def test_a_token_names_a_person_of_its_manufacturer_or_none(scene: Scene) -> None:
    token = await scene.auth.generate_manufacturer_token({"manufacturer_id": "mfr_alder"})
    assert (await scene.auth.validate_token(token))["sub"] == "mfr_alder"
    mine = {"manufacturer_id": "mfr_alder", "account_id": scene.alder.account_id}
    token = await scene.auth.generate_manufacturer_token(mine)
    assert (await scene.auth.validate_token(token))["sub"] == scene.alder.account_id
    for account_id in (scene.birch.account_id, "acc_nobody", ""):
        with pytest.raises((AuthorizationError, ValidationError)):
            await scene.auth.generate_manufacturer_token({**mine, "account_id": account_id})


async def _colleague(scene: Scene, account_id: str, *, role: str = "owner", status: str = "active") -> None:
    """Another person in Alder."""
    owner = await scene.auth.store.get_account(scene.alder.account_id)
    assert owner is not None
    address = f"{account_id}@alder.example"
    await scene.auth.store.add_account(
        msgspec.structs.replace(
            owner,
            created_at=scene.clock.now(),
            account_id=account_id,
            email=address,
            email_key=address,
            role=role,
            status=status,
        )
    )
