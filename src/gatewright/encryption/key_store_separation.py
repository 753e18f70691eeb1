"""Separation of the key store from the records: its check, and moving keys there."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.encryption.context import VERSION
from gatewright.errors import KeyUnavailableError
from gatewright.storage.keys import GenerationStatus, KeyStore, MovableKeys, StoredKeys
from gatewright.storage.tenants import TenantStore

_LOOKED_AT = 200
"""Manufacturers whose profiles tell under which keys the records are."""


async def check_key_place(keys: KeyStore, records: TenantStore) -> None:
    """Refuse a key store that has none of the keys under which the records are.

    Without this, a forgotten setting or a lost file would go unnoticed: new keys would be made, and whatever was
    written before would not open.

    Raises:
        KeyUnavailableError: it is not the key store of these records (``KEYS_ELSEWHERE``).
    """
    used = set()
    for manufacturer in await records.list_manufacturers(limit=_LOOKED_AT):
        if manufacturer.profile is not None:
            used.add(_key_of(manufacturer.profile))
    used.discard(None)
    if used and not used & {generation.key_id for generation in await keys.list_key_generations()}:
        raise KeyUnavailableError(
            f"The records were sealed with keys that are not in this key store ({min(map(str, used))}).",
            code="KEYS_ELSEWHERE",
            recommended_action="Set GATEWRIGHT_KEY_DATABASE to the store with the keys. If they are still with the "
            "records, stop the service and run `gatewright keys move`. If they are lost, restore the key store.",
        )


def _key_of(profile: str) -> str | None:
    """The generation that an envelope names, of the present version."""
    try:
        metadata: Any = msgspec.json.decode(profile).get("encryption_metadata")
        return str(metadata["key_id"]) if metadata["version"] == VERSION else None
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
        return None


async def move_keys(source: MovableKeys, target: MovableKeys) -> StoredKeys:
    """Take all keys from one key store to another, and erase them where they were.

    Nothing may use either of them meanwhile. May be repeated after a fault, also when the other store was used since:
    keys are erased only when that has them all.

    Returns:
        What was moved; empty when there was nothing to move.

    Raises:
        KeyUnavailableError: the target holds keys of its own (``KEY_STORE_IN_USE``).
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


def _covers(kept: StoredKeys, moved: StoredKeys) -> bool:
    """Whether one store has all that is in the other, but for what it destroyed since."""
    generations = {(generation.version, generation.key_id) for generation in kept.generations}
    destroyed = {g.version for g in kept.generations if g.status == GenerationStatus.DESTROYED}
    shredded = {one.manufacturer_id for one in kept.shredded}
    keys = {(key.manufacturer_id, key.version) for key in kept.data_keys}
    return (
        all((generation.version, generation.key_id) in generations for generation in moved.generations)
        and all(one.manufacturer_id in shredded for one in moved.shredded)
        and all(
            (key.manufacturer_id, key.version) in keys or key.version in destroyed or key.manufacturer_id in shredded
            for key in moved.data_keys
        )
    )
