"""What worked against a running service before every call said who may make it: each finding by its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatewright import ManufacturerContext, SecurityFoundation, Settings
from gatewright.errors import (
    ConfigurationError,
    DuplicateAccountError,
    InsufficientPermissionsError,
    TokenRevokedError,
    ValidationError,
)
from gatewright.policy import parse_policy
from gatewright.storage import PLATFORM_TENANT
from tests.access.world import PASSWORD, World, opened, policy
from tests.support.waiting import eventually

ACME = "manufacturer_id"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as made:
        yield made


async def code(world: World, caller: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    answer = await world.call(caller, method, path, body)
    return answer.status_code, answer.json().get("code", "") if answer.content else ""


# --- credentials and permissions --------------------------------------------------------------------------------


async def test_a_viewer_rotates_the_owners_key(world: World) -> None:
    before = await world.state()
    path = f"/v1/api-keys/{world.ids['key_id']}/rotate"
    assert await code(world, "viewer", "POST", path) == (403, "INSUFFICIENT_PERMISSIONS")
    assert await world.state() == before


async def test_a_rotated_key_stays_within_the_permissions_of_who_rotates_it(world: World) -> None:
    """A developer may manage keys, and lacks ``export_data``, which the owner's key has."""
    keys = (await world.call("owner", "GET", "/v1/api-keys")).json()["items"]
    above = next(k for k in keys if "export_data" in k["permissions"])
    path = f"/v1/api-keys/{above['key_id']}/rotate"
    assert await code(world, "developer", "POST", path) == (403, "INSUFFICIENT_PERMISSIONS")
    within = await world.call("developer", "POST", f"/v1/api-keys/{world.ids['key_id']}/rotate")
    assert within.status_code == 201
    known = await world.foundation.auth.verify_api_key(within.json()["key"])
    assert known.account_id == world.accounts["developer"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/members/invitations", {"email": "mole@example.com", "role": "owner"}),
        ("DELETE", "/v1/sessions", None),
        ("POST", "/v1/mfa/totp", {}),
        ("POST", "/v1/passkeys/register/begin", None),
        ("POST", "/v1/auth/password/change", {"current_password": PASSWORD, "new_password": "velvet-harbor-tundra-9"}),
        ("POST", "/v1/api-keys", {"name": "mine", "permissions": ["upload_products"]}),
        ("PUT", "/v1/profile", {"bank_account": "DE89370400440532013000"}),
    ],
)
async def test_any_api_key_acts_as_its_owner(world: World, method: str, path: str, body: Any) -> None:
    before = await world.state()
    assert await code(world, "key", method, path, body) == (403, "CREDENTIAL_NOT_ALLOWED")
    assert await world.state() == before


async def test_a_key_shows_no_person(world: World) -> None:
    me = (await world.call("key", "GET", "/v1/me")).json()
    assert me["account_id"] is None and me["email"] is None and me["role"] is None
    assert me["api_key"]["key_id"] == world.ids["key_id"] and me["access"] == ["usage:read"]


@pytest.mark.parametrize(
    "name", ["members:manage", "keys:manage", "sessions:own", "factors:own", "platform:audit:read"]
)
async def test_a_key_names_permissions_over_people_and_keys(world: World, name: str) -> None:
    answer = await world.call("owner", "POST", "/v1/api-keys", {"name": "mine", "permissions": [name]})
    assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_PERMISSION")


async def test_a_key_works_on_without_api_access(world: World) -> None:
    """The tier is lowered: the key is refused at once, and none can be made."""
    assert (await world.call("key", "GET", "/v1/usage")).status_code == 200
    await world.foundation.rbac.update_manufacturer_tier(world.ids[ACME], "free", reason="not paid")
    assert await code(world, "key", "GET", "/v1/usage") == (403, "INSUFFICIENT_PERMISSIONS")
    new = {"name": "mine", "permissions": ["upload_products"]}
    assert await code(world, "owner", "POST", "/v1/api-keys", new) == (403, "INSUFFICIENT_PERMISSIONS")


async def test_a_session_with_a_stale_second_factor_invites_a_platform_admin(world: World) -> None:
    before = await world.state()
    body = {"email": "mole@example.com", "role": "platform_admin"}
    caller = "platform_admin, stale second factor"
    assert await code(world, caller, "POST", "/v1/members/invitations", body) == (401, "MFA_REQUIRED")
    assert await world.state() == before


async def test_a_demoted_admin_changes_tiers_until_the_token_ends(world: World) -> None:
    path = f"/v1/admin/manufacturers/{world.ids[ACME]}/tier"
    body = {"tier": "free", "reason": "because I can"}
    assert await code(world, "demoted platform_admin", "PUT", path, body) == (403, "INSUFFICIENT_PERMISSIONS")
    members = world.foundation.rbac.members
    await members.change(PLATFORM_TENANT, world.accounts["former-admin"], None, status="disabled")
    assert await code(world, "demoted platform_admin", "PUT", path, body) == (401, "MANUFACTURER_DISABLED")


async def test_a_disabled_member_writes_the_bank_account(world: World) -> None:
    before = await world.state()
    answer = await code(world, "disabled member", "PUT", "/v1/profile", {"bank_account": "DE89370400440532013000"})
    assert answer == (401, "MANUFACTURER_DISABLED")
    assert await world.state() == before


async def test_forward_auth_lets_pass_who_may_do_nothing(world: World) -> None:
    """A role without a permission of the policy, and F03: every method, and the path appended as Envoy does."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        for path in ("/v1/forward-auth", "/v1/forward-auth/demo/products"):
            assert (await world.call("owner", method, path)).status_code == 200
            refused = await world.call("custom role", method, path)
            assert refused.status_code == 403
    attack = await world.call("owner", "GET", "/v1/forward-auth/demo?q=%3Cscript%3Ealert(1)%3C/script%3E")
    assert (attack.status_code, attack.json()["code"]) == (403, "THREAT_DETECTED")


async def test_a_context_that_claims_a_role_opens_nothing_of_ours(world: World) -> None:
    rbac = world.foundation.rbac
    for context in (
        ManufacturerContext(world.ids[ACME], roles=["owner", "platform_admin"]),
        ManufacturerContext(PLATFORM_TENANT, roles=["platform_admin"]),
        ManufacturerContext(PLATFORM_TENANT, roles=["platform_admin"], account_id=world.accounts["viewer"]),
        ManufacturerContext(world.ids[ACME], roles=["owner"], account_id=world.accounts["other"]),
    ):
        assert await rbac.access_of(context) == []
        assert not await rbac.has_permission(context, "members:manage")
        assert not await rbac.has_permission(context, "platform:tiers:write")


async def test_our_own_permissions_cannot_be_granted_or_suggested(world: World) -> None:
    with pytest.raises(ValidationError, match="members:manage"):
        await world.foundation.rbac.grant_permission(
            world.ids[ACME], "members:manage", until=world.foundation.clock.now().replace(year=2030), reason="why not"
        )
    for _ in range(3):
        for _ in range(8):
            await world.call("viewer", "GET", "/v1/members")
        world.foundation.clock.advance(days=1)  # type: ignore[attr-defined]  # a ManualClock
        await world.session("viewer", world.ids[ACME], world.accounts["viewer"])
    suggested = await world.foundation.rbac.suggest_permissions(world.ids[ACME])
    assert [s.permission for s in suggested if ":" in s.permission] == []


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ('[roles.boss]\npermissions = ["platform:tiers:write"]\n', "platform staff"),
        ('[roles.boss]\npermissions = ["members:mange"]\n', "did you mean members:manage"),
        ('[permissions]\n"members:manage" = "Mine"\n', "Gatewright's own API"),
    ],
)
def test_a_policy_gives_staff_permissions_to_a_tenant(entry: str, rule: str) -> None:
    base = 'default_tier = "free"\n[tiers.free]\npermissions = []\n'
    with pytest.raises(ConfigurationError, match=rule):
        parse_policy(base + entry + ("" if "[permissions]" in entry else '[permissions]\nfly = "Fly"\n'))


# --- people -----------------------------------------------------------------------------------------------------


async def test_an_admin_makes_an_owner_or_touches_one(world: World) -> None:
    before = await world.state()
    owner, admin = world.accounts["acme"], world.accounts["admin"]
    refused = (403, "INSUFFICIENT_PERMISSIONS")
    assert await code(world, "admin", "PUT", f"/v1/members/{admin}", {"role": "owner"}) == refused
    assert await code(world, "admin", "PUT", f"/v1/members/{owner}", {"status": "disabled"}) == refused
    assert await code(world, "admin", "DELETE", f"/v1/members/{owner}/sessions") == refused
    body = {"email": "friend@example.com", "role": "owner"}
    assert await code(world, "admin", "POST", "/v1/members/invitations", body) == refused
    assert await world.state() == before
    member = world.accounts["bystander"]
    assert (await world.call("admin", "PUT", f"/v1/members/{member}", {"role": "viewer"})).status_code == 200


async def test_support_resets_the_factors_of_an_admin_of_the_platform(world: World) -> None:
    admin = (await world.foundation.store.owner_of(PLATFORM_TENANT)).account_id  # type: ignore[union-attr]  # there
    path = f"/v1/admin/manufacturers/{PLATFORM_TENANT}/accounts/{admin}/mfa/reset"
    body = {"reason": "please let me"}
    assert await code(world, "platform_support", "POST", path, body) == (403, "INSUFFICIENT_PERMISSIONS")
    own = f"/v1/admin/manufacturers/{world.ids[ACME]}/accounts/{world.accounts['viewer']}/mfa/reset"
    assert (await world.call("platform_support", "POST", own, body)).status_code == 204


@pytest.mark.parametrize("what", ["disable", "enable", "grants", "tier"])
async def test_staff_change_the_platforms_own_tenant(world: World, what: str) -> None:
    body: dict[str, Any] = {"reason": "because I can"}
    body |= {"tier": "free"} if what == "tier" else {}
    body |= {"permission": "export_data", "until": "2030-01-01T00:00:00Z"} if what == "grants" else {}
    path = f"/v1/admin/manufacturers/{PLATFORM_TENANT}/{what}"
    answer = await code(world, "platform_admin", "PUT" if what == "tier" else "POST", path, body)
    assert answer == (403, "RESERVED_TENANT")


async def test_an_invitation_outlives_the_rights_of_who_sent_it(world: World) -> None:
    members = world.foundation.rbac.members
    acme, admin = world.ids[ACME], world.accounts["admin"]
    made = await members.invite(acme, "second-self@example.com", "admin", admin)
    await members.change(acme, admin, None, role="viewer")
    body = {"token": made.token, "password": PASSWORD}
    assert await code(world, "anonymous", "POST", "/v1/members/join", body) == (422, "INVALID_INVITATION")


async def test_an_invitation_tells_whether_an_address_has_an_account(world: World) -> None:
    known, fresh = "other@example.com", "fresh@example.com"
    answers = [
        await world.call("owner", "POST", "/v1/members/invitations", {"email": email, "role": "viewer"})
        for email in (known, fresh)
    ]
    assert (answers[0].status_code, answers[0].json()) == (answers[1].status_code, answers[1].json())
    listed = (await world.call("owner", "GET", "/v1/members/invitations")).json()["items"]
    assert {known, fresh} <= {one["email"] for one in listed}
    await world.foundation.auth.services.mailer.drain()
    notifier: Any = world.foundation.notifier
    assert "token" not in notifier.last(known, kind="invitation").data
    assert "token" in notifier.last(fresh, kind="invitation").data


async def test_two_spellings_of_one_address_are_two_people(world: World) -> None:
    members, acme = world.foundation.rbac.members, world.ids[ACME]
    for email in ("Ünal@Bücher.example", "ünal@xn--bcher-kva.example"):
        await members.invite(acme, email, "viewer", None)
    opened = [i.email for i in await members.invitations(acme) if "xn--" in i.email]
    assert len(opened) == 1
    with pytest.raises(DuplicateAccountError):
        await members.invite(acme, "VIEWER@Example.com", "viewer", None)


async def test_the_last_owner_and_the_last_admin_go(world: World) -> None:
    """Two owners demote each other at the same moment: one stays."""
    members, acme = world.foundation.rbac.members, world.ids[ACME]
    owners = [m.account_id for m in await members.members(acme) if m.role == "owner"]
    results = await asyncio.gather(
        *(members.change(acme, who, None, role="viewer") for who in owners), return_exceptions=True
    )
    assert [type(r) for r in results].count(ValidationError) == 1
    staff = [m.account_id for m in await members.members(PLATFORM_TENANT) if m.role == "platform_admin"]
    results = await asyncio.gather(
        *(members.change(PLATFORM_TENANT, who, None, status="disabled") for who in staff), return_exceptions=True
    )
    assert [type(r) for r in results].count(ValidationError) == 1


async def test_a_change_of_a_member_ends_sessions_and_keys(world: World) -> None:
    await world.session("developer, second session", world.ids[ACME], world.accounts["developer"])
    await world.key("developer's key", world.ids[ACME], world.accounts["developer"], "upload_products")
    path = f"/v1/members/{world.accounts['developer']}"
    assert (await world.call("owner", "PUT", path, {"role": "viewer"})).status_code == 200
    for caller in ("developer", "developer, second session"):
        assert await code(world, caller, "GET", "/v1/me") == (401, "SESSION_ENDED")
    assert await code(world, "developer's key", "GET", "/v1/me") == (401, "INVALID_API_KEY")


async def test_a_promotion_ends_no_key_that_could_still_be_made(world: World) -> None:
    await world.key("developer's key", world.ids[ACME], world.accounts["developer"], "upload_products")
    path = f"/v1/members/{world.accounts['developer']}"
    assert (await world.call("owner", "PUT", path, {"role": "admin"})).status_code == 200
    assert (await world.call("developer's key", "GET", "/v1/me")).status_code == 200


async def test_another_process_hears_of_a_disabled_member_within_a_second(tmp_path: Path) -> None:
    """Its memory of the token and of the role is dropped by the change feed."""
    settings = Settings(data_dir=tmp_path, durable=False, argon2_memory_kib=8, argon2_time_cost=1)
    async with (
        SecurityFoundation(settings, policy=policy()) as here,
        SecurityFoundation(settings, policy=policy()) as there,
    ):
        owner = await here.auth.register_manufacturer(
            {"email": "o@example.com", "password": PASSWORD, "company_name": "Acme", "tier": "enterprise"}
        )
        made = await here.rbac.members.invite(owner.manufacturer_id, "a@example.com", "admin", None)
        hashed = await here.auth.hash_new_password(PASSWORD)
        admin = await here.rbac.members.accept(str(made.token), password_hash=hashed)
        signed_in = await there.auth.authenticate_manufacturer("a@example.com", PASSWORD)
        context = ManufacturerContext(owner.manufacturer_id, account_id=admin.account_id)
        assert await there.auth.validate_token(str(signed_in.access_token))
        assert await there.rbac.has_permission(context, "members:manage")
        await here.memberships.change(owner.manufacturer_id, admin.account_id, by=None, status="disabled")

        async def is_over() -> bool:
            allowed = await there.rbac.has_permission(context, "members:manage")
            return not allowed and not await _is_valid(there, str(signed_in.access_token))

        await eventually(is_over)
        with pytest.raises(InsufficientPermissionsError):
            await there.rbac.enforce_permission(context, "upload_products")


async def _is_valid(foundation: SecurityFoundation, token: str) -> bool:
    try:
        await foundation.auth.validate_token(token)
    except TokenRevokedError:
        return False
    return True
