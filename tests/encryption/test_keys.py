"""The key life cycle: rotation, revocation, shredding and root keys."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gatewright.encryption import ManufacturerEncryptionManager, RootKey
from gatewright.errors import (
    ConfigurationError,
    DecryptionError,
    EncryptionError,
    KeyUnavailableError,
    StorageError,
)
from gatewright.storage import SqliteStore, StoredKeyGeneration
from gatewright.testing import ListSink, ManualClock
from tests.encryption.conftest import ROOT

Manager = ManufacturerEncryptionManager
NEW_ROOT = bytes(reversed(range(32)))


def version_of(envelope: dict[str, Any]) -> int:
    version: int = envelope["encryption_metadata"]["key_version"]
    return version


async def test_rotation_raises_the_version_and_old_envelopes_open(manager: Manager, sink: ListSink) -> None:
    old = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    result = await manager.rotate_encryption_key()
    new = await manager.encrypt_manufacturer_data({"v": 2}, manufacturer_id="a")
    assert result.old_key_id == result["old_key_id"] == old["encryption_metadata"]["key_id"]
    assert result.new_key_id == new["encryption_metadata"]["key_id"] != result.old_key_id
    assert (version_of(old), version_of(new)) == (1, 2)
    assert await manager.decrypt_manufacturer_data(old) == {"v": 1}
    assert await manager.decrypt_manufacturer_data(new, minimum_key_version=2) == {"v": 2}
    with pytest.raises(DecryptionError):
        await manager.decrypt_manufacturer_data(old, minimum_key_version=2)
    renewed = await manager.reencrypt_manufacturer_data(old)
    assert version_of(renewed) == 2 and await manager.decrypt_manufacturer_data(renewed) == {"v": 1}
    assert [(k.version, k.status) for k in await manager.list_keys()] == [(2, "active"), (1, "retired")]
    assert "encryption:key:rotated" in sink.kinds()


async def test_reencryption_keeps_owner_classification_and_field(manager: Manager) -> None:
    old = await manager.encrypt_manufacturer_data("x", manufacturer_id="a", classification="financial", field="f")
    await manager.rotate_encryption_key()
    new = (await manager.reencrypt_manufacturer_data(old))["encryption_metadata"]
    assert (new["manufacturer_id"], new["classification"], new["field"]) == ("a", "financial", "f")


async def test_keys_rotate_by_age_where_that_is_enabled(manager: Manager, clock: ManualClock) -> None:
    assert await manager.rotate_if_due() is None
    clock.advance(days=91)
    result = await manager.rotate_if_due()
    assert result is not None and result.reason == "age"
    assert await manager.rotate_if_due() is None
    manager.vault.rotation_enabled = False
    clock.advance(days=91)
    assert await manager.rotate_if_due() is None
    assert (await manager.rotate_encryption_key()).key_version == 3


async def test_a_key_rotates_before_it_has_sealed_too_many(key_store: SqliteStore) -> None:
    for store in (None, key_store):
        manager = Manager(ROOT, store=store, max_messages_per_key=10)
        envelopes = [await manager.encrypt_manufacturer_data({"n": n}, manufacturer_id="a") for n in range(35)]
        assert [version_of(e) for e in envelopes] == [1 + n // 10 for n in range(35)]
        assert [await manager.decrypt_manufacturer_data(e) for e in envelopes] == [{"n": n} for n in range(35)]
        many = await asyncio.gather(*(manager.encrypt_manufacturer_data(n, manufacturer_id="a") for n in range(50)))
        counts = [sum(version_of(e) == v for e in [*envelopes, *many]) for v in range(1, 20)]
        assert max(counts) <= 10
        await manager.close()


async def test_without_rotation_a_full_key_says_so(key_store: SqliteStore) -> None:
    for store in (None, key_store):
        manager = Manager(ROOT, False, store=store, max_messages_per_key=3)
        for _ in range(3):
            await manager.encrypt_manufacturer_data({}, manufacturer_id="a")
        with pytest.raises(EncryptionError) as caught:
            await manager.encrypt_manufacturer_data({}, manufacturer_id="a")
        assert caught.value.code == "KEY_EXHAUSTED" and "rotate" in caught.value.recommended_action
        await manager.close()


async def test_a_revoked_generation_opens_only_for_reencryption(manager: Manager, sink: ListSink) -> None:
    old = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    key_id = old["encryption_metadata"]["key_id"]
    assert await manager.decrypt_manufacturer_data(old) == {"v": 1}
    await manager.revoke_key(key_id, reason="laptop lost")
    with pytest.raises(DecryptionError):
        await manager.decrypt_manufacturer_data(old)
    rescued = await manager.reencrypt_manufacturer_data(old)
    assert version_of(rescued) == 2 and await manager.decrypt_manufacturer_data(rescued) == {"v": 1}
    await manager.revoke_key(key_id, reason="laptop lost", destroy=True)
    with pytest.raises(DecryptionError):
        await manager.reencrypt_manufacturer_data(old)
    with pytest.raises(KeyUnavailableError, match="not known"):
        await manager.revoke_key("key_nonsense", reason="x")
    assert [k.status for k in await manager.list_keys()] == ["active", "destroyed"]
    assert {"encryption:key:revoked", "encryption:key:destroyed"} <= set(sink.kinds())


async def test_shredding_makes_one_manufacturer_unreadable_and_no_other(manager: Manager, sink: ListSink) -> None:
    mine = [await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")]
    index = await manager.blind_index("a", "email", "x")
    await manager.rotate_encryption_key()
    mine.append(await manager.encrypt_manufacturer_data({"v": 2}, manufacturer_id="a"))
    others = await manager.encrypt_manufacturer_data({"v": 3}, manufacturer_id="b")
    assert len(index) == 64 and await manager.decrypt_manufacturer_data(mine[0]) == {"v": 1}
    result = await manager.shred("a", reason="contract ended")
    assert result.keys_destroyed >= 2 and result.manufacturer_id == "a"
    for envelope in mine:
        with pytest.raises(DecryptionError):
            await manager.decrypt_manufacturer_data(envelope, manufacturer_id="a")
        with pytest.raises(DecryptionError):
            await manager.reencrypt_manufacturer_data(envelope)
    for refused in (manager.encrypt_manufacturer_data({}, manufacturer_id="a"), manager.blind_index("a", "f", "x")):
        with pytest.raises(KeyUnavailableError) as caught:
            await refused
        assert caught.value.code == "KEYS_SHREDDED"
    assert await manager.decrypt_manufacturer_data(others) == {"v": 3}
    await manager.shred("a")
    event = next(e for e in sink.events if e.kind == "encryption:keys:shredded")
    assert event.manufacturer_id == "a" and event.data["reason"] == "contract ended"
    with pytest.raises(TypeError):
        await manager.shred(None)


async def test_shredded_keys_are_gone_from_the_file_and_stay_gone(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with SqliteStore(path) as store, Manager(ROOT, store=store) as manager:
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        other = await manager.encrypt_manufacturer_data({"v": 2}, manufacturer_id="b")
        wrapped = [key.wrapped for key in await store.list_data_keys() if key.manufacturer_id == "a"]
        await manager.shred("a")
    held = b"".join((tmp_path / name).read_bytes() for name in os.listdir(tmp_path))
    assert wrapped and not any(key in held for key in wrapped)
    async with SqliteStore(path) as store, Manager(ROOT, store=store) as manager:
        with pytest.raises(DecryptionError):
            await manager.decrypt_manufacturer_data(envelope)
        with pytest.raises(KeyUnavailableError):
            await manager.encrypt_manufacturer_data({}, manufacturer_id="a")
        assert await manager.decrypt_manufacturer_data(other) == {"v": 2}


async def test_another_process_learns_of_rotation_and_shredding(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with (
        SqliteStore(path, poll_interval=0.1) as here,
        SqliteStore(path, poll_interval=0.1) as there,
        Manager(ROOT, store=here) as one,
        Manager(ROOT, store=there) as two,
    ):
        envelope = await one.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        assert await two.decrypt_manufacturer_data(envelope) == {"v": 1}
        assert version_of(await two.encrypt_manufacturer_data({}, manufacturer_id="a")) == 1
        await one.rotate_encryption_key()
        newer = await one.encrypt_manufacturer_data({"v": 2}, manufacturer_id="a")
        assert await two.decrypt_manufacturer_data(newer) == {"v": 2}, "found even before the change was noticed"
        there.poll.poll_once()
        assert version_of(await two.encrypt_manufacturer_data({}, manufacturer_id="a")) == 2
        await one.shred("a")
        there.poll.poll_once()
        with pytest.raises(DecryptionError):
            await two.decrypt_manufacturer_data(envelope)
        with pytest.raises(KeyUnavailableError):
            await two.encrypt_manufacturer_data({}, manufacturer_id="a")


async def test_a_process_that_has_not_heard_seals_nothing_under_a_key_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with (
        SqliteStore(path, poll_interval=0.25) as here,
        SqliteStore(path, poll_interval=0.25) as there,
        Manager(ROOT, store=here) as one,
        Manager(ROOT, store=there) as two,
    ):
        key_id = (await one.list_keys())[0].key_id
        ring = (await two.vault.sealer()).ring
        await ring.current("a")
        await ring.current("b")
        await one.revoke_key(key_id, reason="test", destroy=True)
        await one.shred("b")
        envelope = await two.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        assert version_of(envelope) == 2 and await one.decrypt_manufacturer_data(envelope) == {"v": 1}
        with pytest.raises(KeyUnavailableError):
            await two.encrypt_manufacturer_data({"v": 1}, manufacturer_id="b")


async def test_new_data_keys_are_told_once(key_store: SqliteStore, sink: ListSink) -> None:
    async with Manager(ROOT, store=key_store, sink=sink) as manager:
        for _ in range(3):
            await manager.encrypt_manufacturer_data({}, manufacturer_id="a")
            await manager.blind_index("a", "email", "x")
        told = [event for event in sink.events if event.kind == "encryption:key:created"]
        assert [(event.manufacturer_id, event.data["key_version"]) for event in told] == [("a", 1), ("a", 0)]


async def test_many_tasks_of_two_processes_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with (
        SqliteStore(path, durable=False) as here,
        SqliteStore(path, durable=False) as there,
        Manager(ROOT, store=here) as one,
        Manager(ROOT, store=there) as two,
    ):
        envelopes = await asyncio.gather(
            *(m.encrypt_manufacturer_data(n, manufacturer_id="a") for n in range(20) for m in (one, two))
        )
        assert len([k for k in await here.list_data_keys() if k.manufacturer_id == "a"]) == 1
        for number, envelope in enumerate(envelopes):
            assert await (one, two)[number % 2 - 1].decrypt_manufacturer_data(envelope) == number // 2
        rotations = await asyncio.gather(*(m.rotate_encryption_key() for m in (one, two)))
        assert len({r.new_key_id for r in rotations}) == len({r.key_version for r in rotations})


async def test_the_root_rotates_by_wrapping_only(tmp_path: Path, sink: ListSink) -> None:
    path = tmp_path / "keys.db"
    async with SqliteStore(path) as store, Manager(ROOT, store=store, sink=sink) as manager:
        envelopes = [await manager.encrypt_manufacturer_data(n, manufacturer_id=f"m{n}") for n in range(20)]
        index = await manager.blind_index("m1", "email", "x")
        result = await manager.rotate_root_key(NEW_ROOT.hex())
        assert result.rewrapped == 21 and result.old_root_id != result.new_root_id
        assert [await manager.decrypt_manufacturer_data(e) for e in envelopes] == list(range(20))
        assert (await manager.rotate_root_key(NEW_ROOT)).rewrapped == 0
        assert version_of(await manager.encrypt_manufacturer_data({}, manufacturer_id="m1")) == 1
    async with SqliteStore(path) as store, Manager(NEW_ROOT, store=store) as manager:
        assert [await manager.decrypt_manufacturer_data(e) for e in envelopes] == list(range(20))
        assert await manager.blind_index("m1", "email", "x") == index
    async with SqliteStore(path) as store:
        with pytest.raises(KeyUnavailableError, match="rotated away") as caught:
            await Manager(ROOT, store=store).initialize()
        assert caught.value.code == "ROOT_KEY_ROTATED_AWAY"
        with pytest.raises(KeyUnavailableError) as caught:
            await Manager(bytes(32), store=store).initialize()
        assert caught.value.code == "ROOT_KEY_MISMATCH"
        async with Manager(NEW_ROOT, store=store) as manager:
            with pytest.raises(KeyUnavailableError, match="rotated away"):
                await manager.rotate_root_key(ROOT)
            assert await manager.decrypt_manufacturer_data(envelopes[3]) == 3
    assert "encryption:root:rotated" in sink.kinds()


async def test_a_new_root_opens_what_the_previous_one_wrapped_until_it_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with SqliteStore(path) as store, Manager(ROOT, store=store) as manager:
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    async with SqliteStore(path) as store, Manager(NEW_ROOT, store=store, previous_keys=[ROOT]) as manager:
        assert await manager.decrypt_manufacturer_data(envelope) == {"v": 1}
        await manager.encrypt_manufacturer_data({}, manufacturer_id="b")
        await manager.rotate_root_key(NEW_ROOT)
    async with SqliteStore(path) as store, Manager(NEW_ROOT, store=store) as manager:
        assert await manager.decrypt_manufacturer_data(envelope) == {"v": 1}


class BreaksDown:
    """A wrapper that fails after a few keys, like an unreliable KMS."""

    def __init__(self, root: bytes, after: int) -> None:
        self._root = RootKey(root)
        self._left = after

    @property
    def root_id(self) -> str:
        return self._root.root_id

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise StorageError("The KMS is away.")
        return await self._root.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return await self._root.unwrap(wrapped, context)


async def test_a_failed_rotation_overwrites_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with SqliteStore(path, durable=False) as store, Manager(ROOT, store=store) as manager:
        envelopes = [await manager.encrypt_manufacturer_data(n, manufacturer_id=f"m{n}") for n in range(30)]
        before = await store.list_data_keys()
        with pytest.raises(StorageError):
            await manager.rotate_root_key(BreaksDown(NEW_ROOT, after=12))
        assert await store.list_data_keys() == before
        assert [await manager.decrypt_manufacturer_data(e) for e in envelopes] == list(range(30))
        with pytest.raises(KeyUnavailableError):
            await manager.rotate_root_key("short")
        await manager.encrypt_manufacturer_data({}, manufacturer_id="later")
    async with SqliteStore(path, durable=False) as store, Manager(ROOT, store=store) as manager:
        assert (await manager.rotate_root_key(NEW_ROOT)).rewrapped == 31


async def test_a_key_may_stay_in_a_kms(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "keys.db", durable=False) as store:
        manager = Manager(BreaksDown(ROOT, after=1000), store=store)
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        await manager.close()
        other = Manager(BreaksDown(ROOT, after=0), store=store)
        assert await other.decrypt_manufacturer_data(envelope) == {"v": 1}
        await other.close()
    with pytest.raises(ConfigurationError, match="key store"):
        await Manager(BreaksDown(ROOT, after=1)).initialize()
    with pytest.raises(ConfigurationError, match="key store"):
        await Manager(ROOT).rotate_root_key(BreaksDown(ROOT, after=1))


async def test_without_a_store_a_new_root_gives_new_keys_and_the_old_one_opens() -> None:
    manager = Manager(ROOT)
    old = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    index = await manager.blind_index("a", "f", "x")
    assert (await manager.rotate_root_key(NEW_ROOT)).rewrapped == 0
    new = await manager.encrypt_manufacturer_data({"v": 2}, manufacturer_id="a")
    assert [await manager.decrypt_manufacturer_data(e) for e in (old, new)] == [{"v": 1}, {"v": 2}]
    assert await manager.blind_index("a", "f", "x") == index
    restarted = Manager(NEW_ROOT, previous_keys=[ROOT])
    assert [await restarted.decrypt_manufacturer_data(e) for e in (old, new)] == [{"v": 1}, {"v": 2}]
    with pytest.raises(DecryptionError):
        await Manager(NEW_ROOT).decrypt_manufacturer_data(old)


async def test_a_data_key_that_was_moved_or_changed_in_the_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with SqliteStore(path, durable=False) as store, Manager(ROOT, store=store) as manager:
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="b")
    async with SqliteStore(path, durable=False) as store:
        swap = "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE manufacturer_id = 'b')"
        await store.engine.write(lambda c: c.execute(swap).rowcount)
        manager = Manager(ROOT, store=store)
        with pytest.raises(KeyUnavailableError) as caught:
            await manager.decrypt_manufacturer_data(envelope)
        assert caught.value.code == "DATA_KEY_DAMAGED"
        await manager.close()


async def test_a_stolen_copy_of_the_records_opens_nothing_without_the_key_store(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a.db", durable=False) as store, Manager(ROOT, store=store) as manager:
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    async with SqliteStore(tmp_path / "b.db", durable=False) as store, Manager(ROOT, store=store) as manager:
        with pytest.raises(DecryptionError):
            await manager.decrypt_manufacturer_data(envelope)


async def test_a_copy_of_the_records_taken_before_shredding_stays_shut(tmp_path: Path) -> None:
    """With a separate key store, a backup of the records contains no keys."""
    records = tmp_path / "records.json"
    async with SqliteStore(tmp_path / "keys.db") as store, Manager(ROOT, store=store) as manager:
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        records.write_text(json.dumps(envelope))
        shutil.copy(records, tmp_path / "backup.json")
        await manager.shred("a")
        with pytest.raises(DecryptionError):
            await manager.decrypt_manufacturer_data(json.loads((tmp_path / "backup.json").read_text()))


async def test_keys_in_memory_are_bounded(key_store: SqliteStore) -> None:
    for store in (None, key_store):
        manager = Manager(ROOT, store=store, cache_size=5)
        envelopes = [await manager.encrypt_manufacturer_data(n, manufacturer_id=f"m{n}") for n in range(20)]
        assert [await manager.decrypt_manufacturer_data(e) for e in envelopes] == list(range(20))
        ring = (await manager.vault.sealer()).ring
        assert sum(f"m{n}" in ring.cache.newest for n in range(20)) <= 5
        await manager.close()


async def test_a_memory_store_is_not_a_place_for_keys() -> None:
    async with SqliteStore(":memory:") as store, Manager(ROOT, store=store) as manager:
        envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        assert await store.list_data_keys() == []
    assert await Manager(ROOT).decrypt_manufacturer_data(envelope) == {"v": 1}


async def test_closing_and_opening_again_is_harmless(manager: Manager) -> None:
    envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    await manager.initialize()
    await manager.close()
    await manager.close()
    assert await manager.decrypt_manufacturer_data(envelope) == {"v": 1}


async def test_a_blind_index_finds_equal_values_and_only_those(manager: Manager) -> None:
    seen = {
        await manager.blind_index("a", "email", "x@y.z"),
        await manager.blind_index("b", "email", "x@y.z"),
        await manager.blind_index("a", "phone", "x@y.z"),
        await manager.blind_index("a", "email", "x@y.w"),
        await manager.blind_index("a", "n", 1),
        await manager.blind_index("a", "n", "1"),
    }
    assert len(seen) == 6
    assert await manager.blind_index("a", "email", "caf\u00e9") == await manager.blind_index("a", "email", "cafe\u0301")
    first = await manager.blind_index("a", "email", "x@y.z")
    await manager.rotate_encryption_key()
    assert await manager.blind_index("a", "email", "x@y.z") == first


async def test_generations_are_added_one_by_one(key_store: SqliteStore, clock: ManualClock) -> None:
    async def add(version: int, name: str) -> StoredKeyGeneration:
        return await key_store.add_key_generation(
            StoredKeyGeneration(version=version, key_id=name, created_at=clock.now())
        )

    assert (await add(1, "one")).key_id == "one"
    results = await asyncio.gather(*(add(2, f"two{n}") for n in range(10)))
    assert len({r.key_id for r in results}) == 1
