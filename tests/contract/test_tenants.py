"""What every store promises of tenants and people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gatewright.errors import DuplicateAccountError
from gatewright.storage import Store, StoredAccount, StoredManufacturer

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def manufacturer(number: int = 1) -> StoredManufacturer:
    return StoredManufacturer(
        manufacturer_id=f"mfr_{number:03d}",
        company_name=f"Company {number}",
        tier="free",
        created_at=NOW,
        updated_at=NOW,
    )


def account(number: int = 1, *, of: int | None = None, email: str | None = None, role: str = "owner") -> StoredAccount:
    address = email or f"person{number}@example.com"
    return StoredAccount(
        account_id=f"acc_{number:03d}",
        manufacturer_id=f"mfr_{of or number:03d}",
        email=address,
        email_key=address.lower(),
        password_hash="hash",
        role=role,
        created_at=NOW,
        updated_at=NOW,
    )


async def test_a_tenant_and_its_owner_come_back_as_they_were(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    assert await store.get_manufacturer("mfr_001") == manufacturer()
    assert await store.find_account("person1@example.com") == account()
    assert await store.get_account("acc_001") == await store.owner_of("mfr_001") == account()


async def test_what_is_not_there_is_none(store: Store) -> None:
    assert await store.get_manufacturer("nobody") is None
    assert await store.get_account("nobody") is None
    assert await store.find_account("nobody@example.com") is None
    assert await store.owner_of("nobody") is None
    assert await store.update_manufacturer("nobody", tier="free") is None
    assert await store.update_account("nobody", status="disabled") is None


async def test_a_taken_address_adds_neither_tenant_nor_person(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    with pytest.raises(DuplicateAccountError):
        await store.create_manufacturer(manufacturer(2), account(2, email="PERSON1@example.com"))
    assert await store.get_manufacturer("mfr_002") is None
    with pytest.raises(DuplicateAccountError):
        await store.create_manufacturer(manufacturer(1), account(9, of=1))
    with pytest.raises(DuplicateAccountError):
        await store.add_account(account(3, of=1, email="person1@example.com"))


async def test_members_join_a_tenant_and_the_first_owner_stays_its_owner(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    await store.add_account(account(2, of=1, role="viewer"))
    assert [a.account_id for a in await store.list_accounts("mfr_001")] == ["acc_001", "acc_002"]
    owner = await store.owner_of("mfr_001")
    assert owner is not None and owner.account_id == "acc_001"


async def test_fields_change_one_by_one_and_nothing_else_may_be_set(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    changed = await store.update_manufacturer("mfr_001", tier="enterprise", billing_day=31)
    assert changed is not None and (changed.tier, changed.billing_day, changed.company_name) == (
        "enterprise",
        31,
        "Company 1",
    )
    person = await store.update_account("acc_001", last_login_at=NOW, status="disabled")
    assert person is not None and (person.last_login_at, person.status) == (NOW, "disabled")
    with pytest.raises(TypeError, match="manufacturer_id"):
        await store.update_manufacturer("mfr_001", manufacturer_id="mfr_999")
    with pytest.raises(TypeError):
        await store.update_account("acc_001", account_id="acc_999")


async def test_an_address_cannot_be_changed_to_a_taken_one(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    await store.create_manufacturer(manufacturer(2), account(2))
    with pytest.raises(DuplicateAccountError):
        await store.update_account("acc_002", email="person1@example.com", email_key="person1@example.com")


async def test_a_profile_is_replaced_only_by_who_saw_the_present_one(store: Store) -> None:
    await store.create_manufacturer(manufacturer(), account())
    assert await store.replace_profile("mfr_001", expected=None, profile="one")
    assert not await store.replace_profile("mfr_001", expected=None, profile="two")
    assert await store.replace_profile("mfr_001", expected="one", profile="two")
    found = await store.get_manufacturer("mfr_001")
    assert found is not None and found.profile == "two"


async def test_tenants_are_listed_in_pages(store: Store) -> None:
    for number in (3, 1, 2):
        await store.create_manufacturer(manufacturer(number), account(number))
    first = await store.list_manufacturers(limit=2)
    rest = await store.list_manufacturers(after=first[-1].manufacturer_id, limit=2)
    assert [m.manufacturer_id for m in first + rest] == ["mfr_001", "mfr_002", "mfr_003"]


async def test_a_changed_tier_is_told_to_listeners_at_once(store: Store) -> None:
    heard: list[str] = []
    stop = store.changes.subscribe("manufacturer", heard.append)
    await store.create_manufacturer(manufacturer(), account())
    await store.update_manufacturer("mfr_001", tier="professional")
    stop()
    await store.update_manufacturer("mfr_001", tier="free")
    assert heard == ["mfr_001"]
