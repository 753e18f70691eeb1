"""Tenants, members, staff and API keys: real credentials, and no more rights than their role has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gatewright import ClientInfo, create_app
from gatewright.errors import InsufficientPermissionsError, TokenRevokedError, ValidationError
from gatewright.testing import (
    ApiKeyCaller,
    Caller,
    MemoryFoundation,
    create_api_key,
    create_member,
    create_staff,
    create_tenant,
    memory_foundation,
)


@pytest.fixture
async def foundation() -> AsyncIterator[MemoryFoundation]:
    async with memory_foundation() as opened:
        yield opened


@pytest.fixture
async def http(foundation: MemoryFoundation) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(foundation))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_tenant_is_an_owner_who_is_signed_in(foundation: MemoryFoundation) -> None:
    caller = await create_tenant(foundation, tier="enterprise", email="owner@acme.example", company_name="Acme")
    claims = await foundation.auth.validate_token(caller.access_token)
    assert (claims["manufacturer_id"], caller.role, caller.tier) == (caller.manufacturer_id, "owner", "enterprise")
    assert await foundation.auth.validate_session(caller.session_id)
    again = await foundation.auth.authenticate_manufacturer("owner@acme.example", caller.password)
    assert again.status == "authenticated"
    assert (await foundation.auth.refresh_tokens(str(caller.refresh_token))).access_token


async def test_tenants_are_distinct_without_being_named(foundation: MemoryFoundation) -> None:
    one, two = [await create_tenant(foundation) for _ in range(2)]
    assert one.manufacturer_id != two.manufacturer_id and one.email != two.email


async def test_profile_fields_are_passed_on(foundation: MemoryFoundation) -> None:
    assert (await create_tenant(foundation, manufacturer_id="mfr_acme")).manufacturer_id == "mfr_acme"


@pytest.mark.parametrize("role", ["admin", "member", "viewer", "catalogue_editor", "analyst", "developer"])
async def test_a_tenant_with_another_role_is_that_person(foundation: MemoryFoundation, role: str) -> None:
    caller = await create_tenant(foundation, role=role, email="person@acme.example", password="Xylophone-river-42")
    account = await foundation.store.get_account(caller.account_id)
    assert account is not None and (account.role, account.email) == (role, "person@acme.example")
    assert (caller.role, caller.password) == (role, "Xylophone-river-42")
    assert len(await foundation.rbac.members.members(caller.manufacturer_id)) == 2


async def test_a_member_joins_the_tenant(foundation: MemoryFoundation) -> None:
    owner = await create_tenant(foundation)
    by_caller = await create_member(foundation, owner, role="viewer")
    by_id = await create_member(foundation, owner.manufacturer_id)
    assert by_caller.manufacturer_id == by_id.manufacturer_id == owner.manufacturer_id
    assert (by_caller.role, by_id.role) == ("viewer", "member")


async def test_an_unknown_role_is_refused(foundation: MemoryFoundation) -> None:
    with pytest.raises(ValidationError):
        await create_tenant(foundation, role="emperor")


@pytest.mark.parametrize("recent", [True, False])
async def test_the_second_factor_is_recent_where_asked_for(foundation: MemoryFoundation, recent: bool) -> None:
    caller = await create_tenant(foundation, recent_mfa=recent)
    session = await foundation.auth.get_session_info(caller.session_id)
    assert session is not None
    if recent:
        await foundation.auth.require_recent_mfa(caller.session_id)
    else:
        with pytest.raises(Exception, match="factor"):
            await foundation.auth.require_recent_mfa(caller.session_id)


@pytest.mark.parametrize("role", ["platform_admin", "platform_auditor", "platform_support"])
async def test_staff_may_call_what_their_role_may(
    foundation: MemoryFoundation, http: httpx.AsyncClient, role: str
) -> None:
    staff = await create_staff(foundation, role=role)
    account = await foundation.store.get_account(staff.account_id)
    assert account is not None and account.role == role
    assert (await http.get("/v1/admin/manufacturers", headers=staff.headers)).status_code == 200


async def test_a_tenant_is_no_staff(foundation: MemoryFoundation, http: httpx.AsyncClient) -> None:
    owner = await create_tenant(foundation, tier="enterprise", recent_mfa=True)
    assert (await http.get("/v1/admin/manufacturers", headers=owner.headers)).status_code == 403


async def test_where_a_second_factor_is_required_the_token_is_bound_to_its_session() -> None:
    async with memory_foundation(mfa_required=True, access_token_minutes=3) as foundation:
        for caller in (await create_tenant(foundation), await create_staff(foundation)):
            claims = await foundation.auth.validate_token(caller.access_token)
            assert (claims["sub"], claims["exp"] - claims["iat"]) == (caller.account_id, 180)
            await foundation.auth.invalidate_session(caller.session_id)
            with pytest.raises(TokenRevokedError):
                await foundation.auth.validate_token(caller.access_token)


async def test_an_api_key_has_the_permissions_it_was_given(
    foundation: MemoryFoundation, http: httpx.AsyncClient
) -> None:
    owner = await create_tenant(foundation)
    machine = await create_api_key(foundation, owner, "upload_products", name="importer")
    identity = await foundation.auth.verify_api_key(machine.key)
    assert identity.key_id == machine.key_id and machine.permissions == ("upload_products",)
    assert (await http.get("/v1/sessions", headers=machine.headers)).status_code == 403


async def test_an_api_key_gives_no_more_than_its_owner_has(foundation: MemoryFoundation) -> None:
    viewer = await create_tenant(foundation, role="viewer")
    with pytest.raises(InsufficientPermissionsError):
        await create_api_key(foundation, viewer, "upload_products")


async def test_a_client_binds_the_session(foundation: MemoryFoundation) -> None:
    home = ClientInfo("203.0.113.9", "Firefox")
    bound = await create_tenant(foundation, client=home)
    session = await foundation.auth.get_session_info(bound.session_id)
    assert session is not None and session.ip_address == "203.0.113.9"
    assert bound.headers["user-agent"] == "Firefox"
    assert "user-agent" not in (await create_tenant(foundation)).headers


async def test_secrets_stay_out_of_test_logs(foundation: MemoryFoundation) -> None:
    caller: Caller = await create_tenant(foundation)
    machine: ApiKeyCaller = await create_api_key(foundation, caller, "upload_products")
    for secret in (caller.access_token, str(caller.refresh_token), caller.password):
        assert secret not in repr(caller)
    assert machine.key not in repr(machine)
