"""What every store promises of encryption keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gatewright.errors import KeyUnavailableError
from gatewright.storage import (
    KEYS_TOPIC,
    KeyStore,
    Rewrapping,
    StoredDataKey,
    StoredKeyGeneration,
    StoredReencryption,
    StoredRootKey,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def generation(version: int, key_id: str | None = None) -> StoredKeyGeneration:
    return StoredKeyGeneration(version=version, key_id=key_id or f"key_{version}", created_at=NOW, reason="test")


def data_key(owner: str, version: int = 1, wrapped: bytes = b"wrapped", root: str = "root_1") -> StoredDataKey:
    return StoredDataKey(manufacturer_id=owner, version=version, root_id=root, wrapped=wrapped, created_at=NOW)


async def test_generations_come_one_after_another_whoever_adds_them(store: KeyStore) -> None:
    assert await store.list_key_generations() == []
    assert await store.add_key_generation(generation(1)) == generation(1)
    results = await asyncio.gather(*(store.add_key_generation(generation(2, f"two_{n}")) for n in range(20)))
    assert len({result.key_id for result in results}) == 1
    first, second = await store.list_key_generations()
    assert (first.status, first.retired_at, second.status) == ("retired", NOW, "active")
    assert (await store.add_key_generation(generation(7))).version == 2


async def test_the_first_data_key_of_a_version_stays(store: KeyStore) -> None:
    assert await store.get_data_key("a", 1) is None
    results = await asyncio.gather(*(store.add_data_key(data_key("a", wrapped=bytes([n]))) for n in range(20)))
    assert len({result.wrapped for result in results}) == 1
    assert await store.get_data_key("a", 1) == results[0]


async def test_data_keys_are_listed_in_pages_and_by_root(store: KeyStore) -> None:
    for owner, version, root in (("b", 1, "root_1"), ("a", 2, "root_2"), ("a", 1, "root_1"), ("", 0, "root_1")):
        await store.add_data_key(data_key(owner, version, root=root))
    page = await store.list_data_keys(limit=2)
    rest = await store.list_data_keys(after=(page[-1].manufacturer_id, page[-1].version), limit=2)
    assert [(k.manufacturer_id, k.version) for k in page + rest] == [("", 0), ("a", 1), ("a", 2), ("b", 1)]
    assert [k.manufacturer_id for k in await store.list_data_keys(root_id="root_2")] == ["a"]


async def test_keys_are_wrapped_anew_only_where_they_are_what_was_expected(store: KeyStore) -> None:
    await store.add_data_key(data_key("a"))
    await store.add_data_key(data_key("b", wrapped=b"changed"))
    again = [
        Rewrapping(manufacturer_id=owner, version=1, expected=b"wrapped", wrapped=b"new", root_id="root_2")
        for owner in ("a", "b", "nobody")
    ]
    assert await store.rewrap_data_keys(again) == 1
    assert [(k.wrapped, k.root_id) for k in await store.list_data_keys()] == [
        (b"new", "root_2"),
        (b"changed", "root_1"),
    ]


async def test_uses_are_counted_together(store: KeyStore) -> None:
    await store.add_data_key(data_key("a"))
    sums = await asyncio.gather(*(store.reserve_key_uses("a", 1, 10) for _ in range(20)))
    assert sorted(sums) == [10 * n for n in range(1, 21)]
    assert await store.reserve_key_uses("nobody", 1, 10) == -1


async def test_roots_are_retired_when_they_wrap_nothing_any_more(store: KeyStore) -> None:
    for name in ("root_1", "root_2", "root_1"):
        await store.add_root_key(StoredRootKey(root_id=name, created_at=NOW))
    await store.add_data_key(data_key("a"))
    assert not await store.retire_root_key("root_1", now=NOW)
    assert await store.retire_root_key("root_2", now=NOW)
    assert await store.retire_root_key("root_2", now=NOW + timedelta(days=1))
    assert {r.root_id: r.retired_at for r in await store.list_root_keys()} == {"root_1": None, "root_2": NOW}


async def test_revoking_keeps_the_keys_and_destroying_deletes_them(store: KeyStore) -> None:
    for version in (1, 2):
        await store.add_key_generation(generation(version))
    for owner in ("a", "b"):
        await store.add_data_key(data_key(owner, 1))
        await store.add_data_key(data_key(owner, 2))
    assert await store.revoke_key_generation("key_1", now=NOW, reason="lost", destroy=False) == 2
    assert (await store.list_key_generations())[0].status == "revoked"
    assert await store.revoke_key_generation("key_1", now=NOW, reason="lost", destroy=True) == 2
    assert (await store.list_key_generations())[0].status == "destroyed"
    assert [k.version for k in await store.list_data_keys()] == [2, 2]
    for key_id, fault in (("key_2", "active"), ("key_9", "not known")):
        with pytest.raises(KeyUnavailableError, match=fault):
            await store.revoke_key_generation(key_id, now=NOW, reason="lost", destroy=True)


async def test_shredding_takes_all_keys_of_one_for_good(store: KeyStore) -> None:
    for owner in ("a", "b"):
        for version in (0, 1, 2):
            await store.add_data_key(data_key(owner, version))
    heard: list[str] = []
    store.changes.subscribe(KEYS_TOPIC, heard.append)
    assert await store.shred_data_keys("a", now=NOW, reason="left") == 3
    assert await store.shred_data_keys("a", now=NOW, reason="left") == 0
    assert await store.is_shredded("a") and not await store.is_shredded("b")
    assert {k.manufacturer_id for k in await store.list_data_keys()} == {"b"}
    with pytest.raises(KeyUnavailableError) as caught:
        await store.add_data_key(data_key("a", 3))
    assert caught.value.code == "KEYS_SHREDDED" and heard == ["shredded:a", "shredded:a"]


async def test_the_progress_of_reencryption_is_kept(store: KeyStore) -> None:
    assert await store.get_reencryption("table") is None
    progress = StoredReencryption(source="table", target_version=2, started_at=NOW, updated_at=NOW)
    await store.save_reencryption(progress)
    assert await store.get_reencryption("table") == progress
    further = StoredReencryption(
        source="table",
        target_version=2,
        cursor="0042",
        scanned=42,
        reencrypted=40,
        failed=2,
        started_at=NOW,
        updated_at=NOW + timedelta(seconds=5),
        finished_at=NOW + timedelta(seconds=9),
    )
    await store.save_reencryption(further)
    assert await store.get_reencryption("table") == further
