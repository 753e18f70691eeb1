"""Members: invited people, their roles, and that nothing of one manufacturer is reachable from another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from gatewright.errors import AuthorizationError, DuplicateAccountError, InsufficientPermissionsError, ValidationError
from gatewright.rbac import ManufacturerRBACManager
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.rbac.conftest import account_of, caller, register


@pytest.fixture
async def strict(clock: ManualClock, sink: ListSink) -> AsyncIterator[ManufacturerRBACManager]:
    """As in a foundation: a (professional) and b (enterprise) are registered, each with an owner."""
    async with SqliteStore() as store:
        await register(store, "a", tier="professional")
        await register(store, "b", tier="enterprise")
        async with ManufacturerRBACManager(store=store, clock=clock, sink=sink, strict_tenants=True) as manager:
            yield manager


async def test_the_unknown_and_the_disabled_are_refused(strict: ManufacturerRBACManager) -> None:
    for stranger in (caller(of="nobody"), "nobody"):
        assert not await strict.has_permission(stranger, "upload_products")
        assert (await strict.check_permission_detailed(stranger, "upload_products")).reason == "restricted"
        with pytest.raises(InsufficientPermissionsError):
            await strict.enforce_permission(stranger, "upload_products")
        with pytest.raises(AuthorizationError) as refused:
            await strict.check_usage_limit(stranger, "api_calls", 1)
        assert refused.value.code == "UNKNOWN_MANUFACTURER"
    for change in (strict.grant_permission, strict.restrict_permission):
        with pytest.raises(ValidationError) as wrong:
            await change("nobody", "api_access", until=timedelta(days=1), reason="trial")
        assert wrong.value.code == "UNKNOWN_MANUFACTURER"
    with pytest.raises(ValidationError):
        await strict.update_manufacturer_tier("nobody", "free", reason="x")
    assert await strict.has_permission(caller(of="a"), "api_access")
    await strict.store.update_manufacturer("a", status="disabled")
    assert not await strict.has_permission(caller(of="a"), "api_access")
    with pytest.raises(AuthorizationError) as disabled:
        await strict.check_usage_limit(caller(of="a"), "api_calls")
    assert disabled.value.code == "MANUFACTURER_DISABLED"


async def test_the_stored_role_cuts_whatever_the_context_claims(strict: ManufacturerRBACManager) -> None:
    await strict.store.add_account(account_of("a", "viewer"))
    claims = caller("enterprise", of="a", roles=["owner", "platform_admin"], account_id="a-viewer")
    assert await strict.permissions_of(claims) == ["view_basic_analytics"]
    assert await strict.permissions_of(caller(of="a", account_id="a-owner")) == await strict.permissions_of("a")
    assert await strict.members.change("a", "a-viewer", "a-owner", role="developer")
    assert await strict.has_permission(claims, "api_access"), "in effect at once"
    assert await strict.members.change("a", "a-viewer", "a-owner", status="disabled")
    assert not await strict.has_permission(claims, "view_basic_analytics")


async def test_a_person_who_joined_since_is_known_at_once(strict: ManufacturerRBACManager) -> None:
    late = caller(of="a", account_id="a-analyst")
    assert await strict.has_permission("a", "export_data")
    await strict.store.add_account(account_of("a", "analyst"))
    assert await strict.has_permission(late, "export_data")
    assert not await strict.has_permission(late, "upload_products")


async def test_inviting_and_joining(strict: ManufacturerRBACManager, clock: ManualClock, sink: ListSink) -> None:
    made = await strict.members.invite("a", " New@Example.com ", "catalogue_editor", "a-owner")
    assert made.token and made.email == "new@example.com" and made.token not in repr(sink.events)
    (listed,) = await strict.members.invitations("a")
    assert listed.token is None and listed.invitation_id == made.invitation_id
    tries = [strict.members.accept(made.token, password_hash="h") for _ in range(5)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    (joined,) = [r for r in results if not isinstance(r, BaseException)]
    assert joined.permissions == ("upload_products", "view_basic_analytics"), (
        "the tier is the ceiling, the role the cut"
    )
    assert [m.email for m in await strict.members.members("a")] == ["owner@a.example", "new@example.com"]
    assert await strict.members.invitations("a") == []
    with pytest.raises(DuplicateAccountError):
        await strict.members.invite("a", "NEW@example.com", "viewer", None)
    elsewhere = await strict.members.invite("b", "new@example.com", "viewer", None)
    assert elsewhere.token is None, "an account belongs to one company; nobody is told of it"
    assert [i.email for i in await strict.members.invitations("b")] == ["new@example.com"]
    kinds = [k for k in sink.kinds() if k.startswith("rbac:member")]
    assert kinds == ["rbac:member:invited", "rbac:member:joined", "rbac:member:invited"]
    again = await strict.members.invite("a", "two@example.com", "viewer", None)
    clock.advance(days=8)
    for bad in (again.token, "nonsense", None):
        with pytest.raises(ValidationError) as refused:
            await strict.members.accept(bad, password_hash=None)  # type: ignore[arg-type]  # what may come
        assert refused.value.code == "INVALID_INVITATION"


async def test_what_is_no_invitation(strict: ManufacturerRBACManager) -> None:
    for email, role, code in (
        ("no-address", "viewer", "INVALID_EMAIL_FORMAT"),
        ("@x", "viewer", "INVALID_EMAIL_FORMAT"),
        (None, "viewer", "INVALID_EMAIL_FORMAT"),
        ("x@example.com", "king", "UNKNOWN_ROLE"),
        ("x@example.com", "platform_admin", "UNKNOWN_ROLE"),
    ):
        with pytest.raises(ValidationError) as refused:
            await strict.members.invite("a", email, role, None)  # type: ignore[arg-type]  # what may come
        assert refused.value.code == code
    made = await strict.members.invite("a", "x@example.com", "viewer", None)
    assert not await strict.members.withdraw("b", made.invitation_id, None)
    assert await strict.members.withdraw("a", made.invitation_id, "a-owner")
    assert not await strict.members.withdraw("a", made.invitation_id, "a-owner")


async def test_the_last_owner_stays_and_only_owners_decide(strict: ManufacturerRBACManager) -> None:
    await strict.store.add_account(account_of("a", "developer"))
    for change in ({"role": "viewer"}, {"status": "disabled"}):
        with pytest.raises(ValidationError) as last:
            await strict.members.change("a", "a-owner", None, **change)  # type: ignore[arg-type]  # one of the two
        assert last.value.code == "LAST_OWNER"
    for by in ("a-developer", "b-owner", "nobody"):
        with pytest.raises(InsufficientPermissionsError):
            await strict.members.invite("a", "x@example.com", "viewer", by)
        with pytest.raises(InsufficientPermissionsError):
            await strict.members.change("a", "a-developer", by, role="owner")


async def test_nothing_of_one_manufacturer_is_reachable_from_another(strict: ManufacturerRBACManager) -> None:
    """Every call with a's person in b's name, and with b's things under a's name."""
    await strict.grant_permission("b", "api_access", until=timedelta(days=1), reason="b's own")
    await strict.increment_usage("b", "api_calls", 5)
    (grant,) = await strict.list_grants("b")
    mixed = caller("enterprise", of="b", roles=["owner"], account_id="a-owner")
    assert await strict.permissions_of(mixed) == []
    assert not any((await strict.has_permissions(mixed, strict.policy.permissions)).values())
    refused: list[Callable[[], Awaitable[Any]]] = [
        lambda: strict.enforce_permission(mixed, "upload_products"),
        lambda: strict.check_usage_limit(mixed, "api_calls"),
        lambda: strict.check_usage_limit(mixed, "api_calls", 1),
        lambda: strict.enforce_usage_limit(mixed, "api_calls", 1),
        lambda: strict.take_usage(mixed, {"api_calls": 1}),
        lambda: strict.increment_usage(mixed, "api_calls"),
        lambda: strict.refund_usage(mixed, "api_calls"),
        lambda: strict.get_usage_overview(mixed),
        lambda: strict.get_usage_analytics(mixed),
        lambda: strict.suggest_tier(mixed),
        lambda: strict.suggest_permissions(mixed),
        lambda: strict.get_current_usage(mixed, "api_calls"),
        lambda: strict.get_current_usage(mixed),
        lambda: strict.get_usage_history(mixed),
        lambda: strict.get_overage_attempts(mixed),
        lambda: strict.get_permission_violations(mixed),
        lambda: strict.list_grants(mixed),
        lambda: strict.revoke_grant(mixed, grant.grant_id),
    ]
    for call in refused:
        with pytest.raises(AuthorizationError):
            await call()
    assert await strict.get_current_usage("b", "api_calls") == 5
    assert not await strict.revoke_grant("a", grant.grant_id)
    assert await strict.get_permission_violations("a") == [] and await strict.get_overage_attempts("a") == []
    assert await strict.get_usage_history("a") == [] and await strict.list_grants("a") == []
    assert not await strict.members.change("a", "b-owner", "a-owner", role="viewer")
    assert await strict.list_grants("b") == [grant]
