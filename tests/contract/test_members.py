"""InvitationStore and AdjustmentStore: used once, changed by compare-and-set, told to listeners."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from gatewright.errors import DuplicateAccountError, ValidationError
from gatewright.storage import Store, StoredAdjustment, StoredInvitation
from tests.contract.test_tenants import account, manufacturer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def invitation(number: int, email: str | None = None) -> StoredInvitation:
    return StoredInvitation(
        invitation_id=f"i{number}",
        manufacturer_id="mfr_001",
        email=email or f"new{number}@example.com",
        role="viewer",
        token_hash=f"h{number}",
        created_at=NOW + timedelta(seconds=number),
        expires_at=NOW + timedelta(days=1),
    )


def adjustment(**changes: object) -> StoredAdjustment:
    made = StoredAdjustment(
        suggestion_id="s1", manufacturer_id="m", kind="tier", subject="professional", created_at=NOW, changed_at=NOW
    )
    return replace(made, **changes)


async def test_an_invitation_is_used_once(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    assert await store.add_invitation(invitation(1), limit=2)
    assert await store.add_invitation(invitation(2, "NEW1@example.com"), limit=2), "the newer one of an address counts"
    assert await store.list_invitations("mfr_001", NOW) == [invitation(2, "NEW1@example.com")]
    assert await store.add_invitation(invitation(3), limit=2)
    assert not await store.add_invitation(invitation(4), limit=2)
    joined = account(9, of=1, role="viewer")
    assert not await store.accept_invitation("h1", joined, NOW)
    assert not await store.accept_invitation("h2", replace(joined, manufacturer_id="mfr_002"), NOW)
    assert not await store.accept_invitation("h2", joined, NOW + timedelta(days=1))
    won = await asyncio.gather(*(store.accept_invitation("h2", joined, NOW) for _ in range(5)))
    assert sum(won) == 1 and await store.get_account("acc_009") == joined
    with pytest.raises(DuplicateAccountError):
        await store.accept_invitation("h3", account(1, of=1), NOW)
    assert await store.find_invitation("h3", NOW) == invitation(3), "what failed used nothing up"
    assert not await store.withdraw_invitation("mfr_002", "i3") and await store.withdraw_invitation("mfr_001", "i3")


async def test_the_last_owner_stays(store: Store) -> None:
    heard: list[str] = []
    store.changes.subscribe("account", heard.append)
    await store.create_manufacturer(manufacturer(), account())
    await store.add_account(account(2, of=1, role="owner"))
    assert await store.change_member("mfr_002", "acc_001", role="viewer") is None
    results = await asyncio.gather(
        *(store.change_member("mfr_001", who, role="viewer") for who in ("acc_001", "acc_002")), return_exceptions=True
    )
    assert [type(r) for r in results].count(ValidationError) == 1
    assert len(heard) == 1


async def test_adjustments_change_by_compare_and_set(store: Store) -> None:
    assert await store.get_adjustment("s1") is None
    await store.propose_adjustment(adjustment())
    applied = adjustment(status="applied", former="free", until=NOW + timedelta(days=1), author="ann")
    won = await asyncio.gather(*(store.change_adjustment(applied, expected="proposed") for _ in range(5)))
    assert sum(won) == 1
    await store.propose_adjustment(adjustment())
    assert await store.get_adjustment("s1") == applied, "what is in force is not proposed again"
    assert await store.list_adjustments("m", status="applied") == [applied]
    assert await store.list_adjustments("n") == []


async def test_a_tier_is_replaced_only_if_it_is_the_expected_one(store: Store) -> None:
    assert not await store.replace_tier("m", expected="free", tier="professional")
    assert await store.replace_tier("m", expected=None, tier="professional")
    assert await store.replace_tier("m", expected="professional", tier=None)
    assert await store.tier_of_unregistered("m") is None
    await store.create_manufacturer(manufacturer(), account())
    assert not await store.replace_tier("mfr_001", expected="professional", tier="free")
    assert not await store.replace_tier("mfr_001", expected="free", tier=None)
    assert await store.replace_tier("mfr_001", expected="free", tier="professional")


async def test_days_of_use(store: Store) -> None:
    for day in (20, 10, 30):
        await store.note_permission_use("m", "api_access", day)
    assert await store.permission_use("m") == {"api_access": (20, 30)}
