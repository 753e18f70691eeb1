"""GrantStore: grants in force, tiers of the unregistered, violations, and who is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gatewright.storage import PermissionViolation, Store, StoredGrant
from tests.contract.test_tenants import account, manufacturer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def grant(number: int, *, until: datetime | None = None, effect: str = "grant") -> StoredGrant:
    return StoredGrant(
        grant_id=f"g{number}",
        manufacturer_id="m",
        permission="api_access",
        effect=effect,
        until=until,
        reason="because",
        author="ann",
        created_at=NOW + timedelta(seconds=number),
    )


async def test_grants_in_force(store: Store) -> None:
    heard: list[str] = []
    store.changes.subscribe("grants", heard.append)
    made = [grant(1, until=NOW + timedelta(hours=1)), grant(2, effect="restrict")]
    for one in made:
        await store.add_grant(one)
    assert await store.grants_of("m", NOW) == made
    assert await store.grants_of("n", NOW) == []
    assert await store.grants_of("m", NOW + timedelta(hours=1)) == made[1:]
    assert await store.revoke_grant("g2", NOW) == made[1]
    assert await store.revoke_grant("g2", NOW) is None
    assert await store.revoke_grant("g1", NOW + timedelta(hours=2)) is None
    assert await store.grants_of("m", NOW) == made[:1]
    assert heard == ["m", "m", "m"]


async def test_tiers_of_registered_and_unregistered(store: Store) -> None:
    heard: list[str] = []
    store.changes.subscribe("manufacturer", heard.append)
    assert await store.tier_of_unregistered("m") is None
    assert await store.set_tier("m", "professional") is None
    assert await store.set_tier("m", "enterprise") == "professional"
    assert await store.tier_of_unregistered("m") == "enterprise"
    await store.create_manufacturer(manufacturer(), account())
    assert await store.set_tier("mfr_001", "professional") == "free"
    found = await store.get_manufacturer("mfr_001")
    assert found is not None and found.tier == "professional"
    assert await store.tier_of_unregistered("mfr_001") is None
    await store.announce("policy", "policy.toml")
    assert heard == ["m", "m", "mfr_001"]


async def test_violations_newest_first(store: Store) -> None:
    violations = [
        PermissionViolation(
            manufacturer_id="m",
            permission=f"p{number}",
            tier="free",
            operation_context="x",
            ip_address=None,
            timestamp=NOW + timedelta(minutes=number),
        )
        for number in range(3)
    ]
    for violation in violations:
        await store.add_violation(violation)
    assert await store.violations_of("m", since=NOW + timedelta(minutes=1)) == [violations[2], violations[1]]
    assert await store.violations_of("n", since=NOW) == []
