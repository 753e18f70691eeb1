"""Permissions: the contract's matrix, every form a caller may use, and what grants and roles change."""

from __future__ import annotations

import enum
from datetime import timedelta
from types import SimpleNamespace

import pytest

from gatewright.errors import AuthorizationError, InsufficientPermissionsError, ValidationError
from gatewright.rbac import ManufacturerContext, ManufacturerPermission, ManufacturerRBACManager, ManufacturerRole
from gatewright.testing import ListSink, ManualClock
from tests.rbac.conftest import caller

FREE = {"upload_products", "view_basic_analytics"}
PROFESSIONAL = FREE | {"access_ml_tools", "export_data", "api_access", "advanced_analytics"}
ENTERPRISE = PROFESSIONAL | {"bulk_operations", "white_label_access"}
MATRIX = {"free": FREE, "professional": PROFESSIONAL, "enterprise": ENTERPRISE}


class Own(enum.Enum):
    """A caller's own enum."""

    API = "api_access"
    PAID = "paid"
    ROLE = "viewer"


@pytest.mark.parametrize("tier", MATRIX)
@pytest.mark.parametrize("permission", list(ManufacturerPermission))
async def test_every_cell(rbac: ManufacturerRBACManager, tier: str, permission: ManufacturerPermission) -> None:
    expected = permission.value in MATRIX[tier]
    context = caller(tier)
    assert await rbac.has_permission(context, permission) is expected
    assert await rbac.has_permission(context, permission.value) is expected
    result = await rbac.check_permission_detailed(context, permission)
    assert result.granted is expected and bool(result) is expected
    assert result["reason"] == ("tier_permission_granted" if expected else "insufficient_tier")
    assert result.required_tier == next(t for t in MATRIX if permission.value in MATRIX[t])


async def test_every_form_of_a_permission_and_a_tier(rbac: ManufacturerRBACManager) -> None:
    for tier in ("professional", "paid", Own.PAID, "enterprise"):
        assert await rbac.has_permission(caller(tier), "api_access")
        assert await rbac.has_permission(caller(tier), Own.API)
    for nonsense in ("", "no_such", None, 7, ["api_access"], {}, Own.ROLE, "API_ACCESS"):
        assert not await rbac.has_permission(caller("enterprise"), nonsense)
    for tier in ("gold", "", None, 3, ["enterprise"]):
        assert not await rbac.has_permission(caller(tier), "api_access")
        assert await rbac.has_permission(caller(tier), "upload_products")


async def test_contexts_are_duck_typed(rbac: ManufacturerRBACManager) -> None:
    own = SimpleNamespace(manufacturer_id="x", tier="professional", roles=["manufacturer_paid"])
    assert await rbac.has_permission(own, "api_access")
    assert await rbac.has_permission("only-an-id", "upload_products")
    assert not await rbac.has_permission("only-an-id", "api_access")
    with pytest.raises(ValidationError, match="manufacturer_id"):
        await rbac.has_permission(SimpleNamespace(tier="free"), "api_access")
    with pytest.raises(ValidationError):
        await rbac.has_permission("x" * 129, "api_access")


async def test_a_role_never_lifts(rbac: ManufacturerRBACManager) -> None:
    for roles in (
        [ManufacturerRole.MANUFACTURER_ENTERPRISE],
        ["manufacturer_enterprise"],
        ["platform_admin"],
        ["owner"],
        ["unheard_of"],
    ):
        assert not await rbac.has_permission(caller("free", roles=roles), "bulk_operations")
        assert await rbac.has_permission(caller("free", roles=roles), "upload_products")


async def test_a_person_s_role_cuts(rbac: ManufacturerRBACManager) -> None:
    viewer = caller("enterprise", roles=["manufacturer_enterprise", Own.ROLE])
    assert await rbac.permissions_of(viewer) == ["view_basic_analytics"]
    assert not await rbac.has_permission(viewer, "api_access")
    detailed = await rbac.check_permission_detailed(viewer, "api_access")
    assert (detailed.granted, detailed.reason) == (False, "role_not_permitted")
    both = caller("enterprise", roles=["viewer", "analyst"])
    assert await rbac.has_permission(both, "export_data")
    staff = caller("enterprise", roles=["viewer", "platform_admin"])
    assert not await rbac.has_permission(staff, "export_data")


async def test_many_at_once(rbac: ManufacturerRBACManager) -> None:
    answers = await rbac.has_permissions(caller("free"), [ManufacturerPermission.UPLOAD_PRODUCTS, "api_access", "odd"])
    assert answers == {"upload_products": True, "api_access": False, "odd": False}


async def test_a_refusal_is_an_error_a_violation_and_an_event(
    rbac: ManufacturerRBACManager, sink: ListSink, clock: ManualClock
) -> None:
    context = caller("free", ip_address="203.0.113.9")
    await rbac.enforce_permission(context, "upload_products", "upload")
    with pytest.raises(InsufficientPermissionsError, match="bulk_operations") as refused:
        await rbac.enforce_permission(context, ManufacturerPermission.BULK_OPERATIONS, operation_context="import")
    error = refused.value
    assert (error.code, error.manufacturer_id, error.permission) == (
        "INSUFFICIENT_PERMISSIONS",
        "m1",
        "bulk_operations",
    )
    assert (error.tier, error.operation_context) == ("free", "import")
    clock.advance(1)
    with pytest.raises(InsufficientPermissionsError):
        await rbac.enforce_permission(context, "api_access")
    newest, oldest = await rbac.get_permission_violations("m1")
    assert (newest.permission, oldest.permission) == ("api_access", "bulk_operations")
    assert (oldest.tier, oldest.operation_context, oldest.ip_address) == ("free", "import", "203.0.113.9")
    assert sink.kinds() == ["rbac:permission:denied"] * 2
    clock.advance(hours=25)
    assert await rbac.get_permission_violations("m1") == []
    assert await rbac.get_permission_violations("m2", hours=1000) == []


async def test_a_grant_holds_until_its_end(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    context = caller("free")
    assert not await rbac.has_permission(context, "api_access")
    made = await rbac.grant_permission("m1", "api_access", until=clock.now() + timedelta(hours=1), reason="trial")
    assert await rbac.has_permission(context, "api_access")
    assert (await rbac.check_permission_detailed(context, "api_access")).reason == "granted_temporarily"
    assert not await rbac.has_permission(caller("free", roles=["viewer"]), "api_access"), "the role cuts grants too"
    assert await rbac.list_grants("m1") == [made]
    clock.advance(hours=1)
    assert not await rbac.has_permission(context, "api_access")


async def test_a_restriction_wins_over_tier_and_grant(rbac: ManufacturerRBACManager) -> None:
    context = caller("enterprise")
    await rbac.grant_permission("m1", "api_access", until=timedelta(days=1), reason="trial")
    made = await rbac.restrict_permission("m1", "api_access", reason="abuse", author="ann")
    assert (await rbac.check_permission_detailed(context, "api_access")).reason == "restricted"
    with pytest.raises(InsufficientPermissionsError, match="restricted"):
        await rbac.enforce_permission(context, "api_access")
    assert await rbac.revoke_grant(made)
    assert not await rbac.revoke_grant(made.grant_id)
    assert await rbac.has_permission(context, "api_access")


async def test_grants_end_by_id_or_by_permission(rbac: ManufacturerRBACManager) -> None:
    for _ in range(2):
        made = await rbac.grant_permission("m1", "api_access", until=timedelta(days=1), reason="trial")
    assert not await rbac.revoke_grant("m2", made.grant_id), "another's grant is out of reach"
    assert await rbac.revoke_grant("m1", made.grant_id)
    assert await rbac.has_permission(caller(), "api_access")
    assert await rbac.revoke_grant("m1", "api_access")
    assert not await rbac.has_permission(caller(), "api_access")


async def test_what_makes_no_sense_as_a_grant(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    tomorrow = clock.now() + timedelta(days=1)
    for changes, code in (
        ({"permission": "odd"}, "UNKNOWN_PERMISSION"),
        ({"until": clock.now()}, "INVALID_UNTIL"),
        ({"until": tomorrow.replace(tzinfo=None)}, "INVALID_UNTIL"),
        ({"until": "tomorrow"}, "INVALID_UNTIL"),
        ({"until": None}, "INVALID_UNTIL"),
        ({"reason": "  "}, "MISSING_REASON"),
    ):
        given = {"permission": "api_access", "until": tomorrow, "reason": "because", **changes}
        with pytest.raises(ValidationError) as refused:
            await rbac.grant_permission("m1", given.pop("permission"), **given)
        assert refused.value.code == code


async def test_a_stored_tier_wins_over_the_caller_s(rbac: ManufacturerRBACManager, sink: ListSink) -> None:
    context = caller("free")
    assert not await rbac.has_permission(context, "api_access")
    assert await rbac.update_manufacturer_tier("m1", Own.PAID, reason="bought") == "professional"
    assert await rbac.has_permission(context, "api_access")
    assert await rbac.tier_of(context) == "professional"
    assert not await rbac.has_permission(caller("enterprise"), "bulk_operations")
    assert not await rbac.has_permission(caller("free", of="m2"), "api_access")
    (changed,) = sink.events
    assert (changed.kind, changed.data["before"], changed.data["after"]) == ("rbac:tier:changed", None, "professional")
    for tier, reason, code in (
        ("gold", "x", "UNKNOWN_TIER"),
        (None, "x", "UNKNOWN_TIER"),
        ("free", "", "MISSING_REASON"),
    ):
        with pytest.raises(ValidationError) as refused:
            await rbac.update_manufacturer_tier("m1", tier, reason=reason)
        assert refused.value.code == code


async def test_limits_of_tiers(rbac: ManufacturerRBACManager) -> None:
    limits = [tuple(rbac.usage_limits(tier)[name] for name in rbac.usage_limits(tier)) for tier in MATRIX]
    assert limits == [(100, 50, 1_000, 5), (1_000, 500, 10_000, 50), (-1, 5_000, 100_000, 500)]


async def test_the_context_takes_positions_and_names() -> None:
    by_name = ManufacturerContext(manufacturer_id="m", company_name="c", email="e", tier="free", roles=[])
    assert by_name == ManufacturerContext("m", "c", "e", "free", [])
    assert by_name["manufacturer_id"] == "m" and by_name.account_id is None


async def test_closing_leaves_a_shared_store_open(rbac: ManufacturerRBACManager) -> None:
    async with ManufacturerRBACManager(store=rbac.store) as other:
        assert await other.has_permission(caller(), "upload_products")
    assert await rbac.has_permission(caller(of="m9"), "upload_products")
    await rbac.initialize()


def test_an_error_of_access_is_an_authorization_error() -> None:
    assert issubclass(InsufficientPermissionsError, AuthorizationError)
