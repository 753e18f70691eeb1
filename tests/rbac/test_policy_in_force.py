"""The policy in force: replaced at once or not at all, learned of by others, and explained in a sentence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gatewright.errors import ConfigurationError, ValidationError
from gatewright.rbac import ManufacturerRBACManager
from gatewright.storage import SqliteStore
from gatewright.testing import ListSink, ManualClock
from tests.rbac.conftest import caller, register
from tests.support.waiting import eventually
from tests.test_policy import TEXT


async def test_a_good_policy_replaces_and_a_bad_one_does_not(tmp_path: Path, sink: ListSink) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(TEXT)
    async with ManufacturerRBACManager(file, sink=sink) as rbac:
        assert not await rbac.has_permission(caller(), "api_access")
        before = rbac.policy
        file.write_text(TEXT.replace('"upload_products", "view', '"upload_productz", "view', 1))
        with pytest.raises(ConfigurationError, match=r"policy.toml:\d+: .*did you mean upload_products"):
            await rbac.reload_policy()
        assert rbac.policy is before and await rbac.has_permission(caller(), "upload_products")
        file.write_text(TEXT.replace('["upload_products", "view', '["api_access", "upload_products", "view', 1))
        await rbac.reload_policy()
        assert await rbac.has_permission(caller(), "api_access")
        assert sink.kinds() == ["rbac:policy:refused", "rbac:policy:reloaded"]


async def test_other_workers_hear_of_tiers_and_policies(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(TEXT)
    one, two = (SqliteStore(tmp_path / "s.db", durable=False, poll_interval=0.1) for _ in range(2))
    async with (
        one,
        two,
        ManufacturerRBACManager(file, store=one) as here,
        ManufacturerRBACManager(file, store=two) as there,
    ):
        await register(one, "m1", tier="enterprise")
        assert await there.has_permission(caller("enterprise"), "bulk_operations")
        await here.update_manufacturer_tier("m1", "free", reason="expired")
        assert not await here.has_permission(caller("enterprise"), "bulk_operations"), "at once here"

        async def cut() -> bool:
            return not await there.has_permission(caller("enterprise"), "bulk_operations")

        await eventually(cut)
        file.write_text(TEXT.replace('["upload_products", "view', '["api_access", "upload_products", "view', 1))
        await here.reload_policy()
        await eventually(lambda: there.policy == here.policy)
        assert await there.has_permission(caller(), "api_access")


async def test_sentences(rbac: ManufacturerRBACManager, clock: ManualClock) -> None:
    async def says(context: object, subject: object) -> str:
        return (await rbac.explain(context, subject)).sentence

    assert await says(caller(), "upload_products") == "m1 may upload_products: the tier free includes it."
    assert await says(caller(), "api_access") == (
        "m1 may not api_access: the tier free does not include it; professional does."
    )
    viewer = caller("professional", roles=["viewer"])
    assert "role does not" in await says(viewer, "api_access")
    await rbac.grant_permission("m1", "api_access", until=timedelta(days=1), reason="trial")
    assert await says(caller(), "api_access") == "m1 may api_access: it was granted until 2026-03-11 12:00 UTC (trial)."
    await rbac.restrict_permission("m1", "api_access", reason="abuse")
    assert await says(caller(), "api_access") == "m1 may not api_access: it was restricted (abuse)."
    await rbac.check_usage_limit(caller(), "data_exports", 5)
    assert await says(caller(), "data_exports") == (
        "m1 may not use more data_exports: 5 of 5 used on the tier free. Resets at 2026-04-01 00:00 UTC."
    )
    assert "of unlimited" in await says(caller("enterprise", of="m2"), "product_uploads")
    with pytest.raises(ValidationError, match="neither"):
        await rbac.explain(caller(), "odd")
