"""Separation of the key store from the records: startup check and moving of keys."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.encryption.context import VERSION
from gatewright.errors import KeyUnavailableError
from gatewright.storage.keys import GenerationStatus, KeyStore, MovableKeys, StoredKeys
from gatewright.storage.tenants import TenantStore

_SAMPLE_SIZE = 200
"""The number of manufacturers whose profiles are checked."""


async def check_key_store(keys: KeyStore, records: TenantStore) -> None:
    """Raise KeyUnavailableError if the key store does not contain the keys of the records.

    Without this check, a missing setting or a lost file would go unnoticed: new keys would be created, and existing
    records could not be decrypted.

    Raises:
        KeyUnavailableError: it is not the key store of these records (``KEYS_ELSEWHERE``).
    """
    used = set()
    for manufacturer in await records.list_manufacturers(limit=_SAMPLE_SIZE):
        if manufacturer.profile is not None:
            used.add(_key_id_of(manufacturer.profile))
    used.discard(None)
    if used and not used & {generation.key_id for generation in await keys.list_key_generations()}:
        raise KeyUnavailableError(
            f"The records are encrypted with keys that are not in this key store ({min(map(str, used))}).",
            code="KEYS_ELSEWHERE",
            recommended_action="Set GATEWRIGHT_KEY_DATABASE to the store with the keys. If they are still with the "
            "records, stop the service and run `gatewright keys move`. If they are lost, restore the key store.",
        )


def _key_id_of(profile: str) -> str | None:
    """The key id of an envelope of the current version."""
    try:
        metadata: Any = msgspec.json.decode(profile).get("encryption_metadata")
        return str(metadata["key_id"]) if metadata["version"] == VERSION else None
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
        return None


async def move_keys(source: MovableKeys, target: MovableKeys) -> StoredKeys:
    """Move all keys from one key store to another.

    Neither store may be in use. After a failure, call it again, even if the target has been used since: keys are
    erased from the source only once the target contains all of them.

    Returns:
        The keys that were moved. Empty if there were none.

    Raises:
        KeyUnavailableError: the target already contains other keys (``KEY_STORE_IN_USE``).
    """
    keys = await source.read_keys()
    if keys == StoredKeys():
        return keys
    await target.put_keys(keys)
    if not _covers(await target.read_keys(), keys):
        raise KeyUnavailableError(
            "The target key store already contains other keys. Nothing was moved.",
            code="KEY_STORE_IN_USE",
            recommended_action="Set GATEWRIGHT_KEY_DATABASE to a new file.",
        )
    await source.erase_keys()
    return keys


def _covers(target: StoredKeys, moved: StoredKeys) -> bool:
    """Whether ``target`` contains everything in ``moved``, except for what was destroyed since."""
    generations = {(generation.version, generation.key_id) for generation in target.generations}
    destroyed = {g.version for g in target.generations if g.status == GenerationStatus.DESTROYED}
    shredded = {one.manufacturer_id for one in target.shredded}
    keys = {(key.manufacturer_id, key.version) for key in target.data_keys}
    return (
        all((generation.version, generation.key_id) in generations for generation in moved.generations)
        and all(one.manufacturer_id in shredded for one in moved.shredded)
        and all(
            (key.manufacturer_id, key.version) in keys or key.version in destroyed or key.manufacturer_id in shredded
            for key in moved.data_keys
        )
    )
