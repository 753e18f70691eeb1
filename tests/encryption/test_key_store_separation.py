"""A separate key store: its content, the startup check, and moving keys there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gatewright.encryption import ManufacturerEncryptionManager, Profiles, check_key_store, move_keys
from gatewright.errors import DecryptionError, KeyUnavailableError
from gatewright.storage import SqliteStore, StoredAccount, StoredKeys, StoredManufacturer
from tests.encryption.conftest import ROOT

Manager = ManufacturerEncryptionManager
NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def add(records: SqliteStore, profiles: Profiles, name: str, fields: dict[str, Any]) -> None:
    """A manufacturer with business data."""
    tenant = StoredManufacturer(
        manufacturer_id=name,
        company_name=name.upper(),
        tier="free",
        profile=await profiles.seal_profile(name, fields),
        created_at=NOW,
        updated_at=NOW,
    )
    email = f"{name}@example.com"
    owner = StoredAccount(
        account_id=f"acc_{name}", manufacturer_id=name, email=email, email_key=email, created_at=NOW, updated_at=NOW
    )
    await records.create_manufacturer(tenant, owner)


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


async def test_shredding_closes_one_manufacturers_data_in_the_store_and_in_older_copies(tmp_path: Path) -> None:
    """The records are copied, then one manufacturer is shredded: its data opens nowhere, that of others everywhere."""
    records_file, keys_file, copy = tmp_path / "records.db", tmp_path / "keys.db", tmp_path / "copy.db"
    async with SqliteStore(records_file) as records, SqliteStore(keys_file) as keys:
        async with Manager(ROOT, store=keys) as manager:
            profiles = Profiles(manager, records)
            for name in ("gone", "kept"):
                await add(records, profiles, name, {"tax_id": f"secret of {name}"})
            await manager.rotate_encryption_key()  # two generations, so that both have to go
            await profiles.merge("gone", {"iban": "DE89370400440532013000"})
            with closing(sqlite3.connect(copy)) as backup, closing(sqlite3.connect(records_file)) as live:
                live.backup(backup)
            assert (await manager.shred("gone", reason="asked for")).keys_destroyed == 2
            with pytest.raises(DecryptionError):
                await profiles.read("gone", clear=True)
            assert (await profiles.read("kept", clear=True))["tax_id"] == "secret of kept"
        assert rows(records_file, "data_keys") == 0, "no key was ever with the records"
    async with (
        SqliteStore(copy) as restored,
        SqliteStore(keys_file) as keys,
        Manager(ROOT, store=keys) as manager,  # another process, with the root key and the key store
    ):
        profiles = Profiles(manager, restored)
        with pytest.raises(DecryptionError):
            await profiles.read("gone", clear=True)
        assert (await profiles.read("kept", clear=True))["tax_id"] == "secret of kept"


async def test_a_key_store_that_is_not_that_of_the_records_is_refused(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "records.db") as records, SqliteStore(tmp_path / "keys.db") as keys:
        await check_key_store(keys, records)
        async with Manager(ROOT, store=keys) as manager:
            await add(records, Profiles(manager, records), "m", {"tax_id": "12-3456789"})
        await check_key_store(keys, records)
        async with SqliteStore(tmp_path / "empty.db") as empty:
            with pytest.raises(KeyUnavailableError, match="not in this key store") as refused:
                await check_key_store(empty, records)
            assert refused.value.code == "KEYS_ELSEWHERE"
            assert "gatewright keys move" in str(refused.value.recommended_action)
        await records.update_manufacturer("m", profile="of another program")
        async with SqliteStore(tmp_path / "empty.db") as empty:
            await check_key_store(empty, records)  # what is no envelope of Gatewright says nothing about keys


async def test_keys_move_to_another_store_and_leave_nothing_behind(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "records.db") as records, SqliteStore(tmp_path / "keys.db") as keys:
        async with Manager(ROOT, store=records) as manager:
            profiles = Profiles(manager, records)
            await add(records, profiles, "m", {"tax_id": "12-3456789"})
            await add(records, profiles, "gone", {"tax_id": "98-7654321"})
            await manager.rotate_encryption_key(reason="test")
            await manager.shred("gone", reason="asked for")
            wrapped = (await records.list_data_keys())[0].wrapped
        moved = await move_keys(records, keys)
        assert [g.version for g in moved.generations] == [1, 2] and [s.manufacturer_id for s in moved.shredded] == [
            "gone"
        ]
        assert await keys.read_keys() == moved and await records.read_keys() == StoredKeys()
        assert await move_keys(records, keys) == StoredKeys(), "there is nothing more to move"
        async with Manager(ROOT, store=keys) as manager:
            assert await Profiles(manager, records).read("m", clear=True) == {"tax_id": "12-3456789"}
            assert await manager.is_shredded("gone")
            with pytest.raises(KeyUnavailableError):
                await manager.encrypt_manufacturer_data({}, manufacturer_id="gone")
    for name in ("records.db", "records.db-wal"):
        file = tmp_path / name
        assert not file.exists() or wrapped not in file.read_bytes(), "not even in pages that are free"


async def test_a_move_that_was_interrupted_goes_on_and_a_wrong_target_takes_nothing(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "records.db") as records:
        async with Manager(ROOT, store=records) as manager:
            await manager.encrypt_manufacturer_data({}, manufacturer_id="m")
        before = await records.read_keys()
        async with SqliteStore(tmp_path / "used.db") as used:
            async with Manager(bytes(32), store=used):
                pass
            with pytest.raises(KeyUnavailableError) as refused:
                await move_keys(records, used)
            assert refused.value.code == "KEY_STORE_IN_USE" and await records.read_keys() == before
        async with SqliteStore(tmp_path / "keys.db") as keys:
            assert await keys.put_keys(before)  # as far as it came before it was killed
            assert await move_keys(records, keys) == before
            assert await keys.read_keys() == before and await records.read_keys() == StoredKeys()
            assert await records.put_keys(before)  # ... killed before it erased, and the keys were used since
            async with Manager(ROOT, store=keys) as manager:
                await manager.encrypt_manufacturer_data({}, manufacturer_id="n")
                await manager.emergency_rotation([], reason="test", settle=0, destroy=True)
                await manager.shred("n")
            used_since = await keys.read_keys()
            assert await move_keys(records, keys) == before
            assert await keys.read_keys() == used_since and await records.read_keys() == StoredKeys()
