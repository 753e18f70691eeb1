"""The key ring over a durable store: data keys are random, wrapped, and can be destroyed."""

from __future__ import annotations

import os
import secrets

from gatewright import event_kinds
from gatewright.clock import Clock
from gatewright.encryption.data_key import DataKey, KeyCache
from gatewright.encryption.root import KeyWrapper, wrap_context
from gatewright.encryption.secretbox import KEY_BYTES, decryption_failed
from gatewright.errors import KeyUnavailableError
from gatewright.events import Emit
from gatewright.storage.changes import ALL
from gatewright.storage.keys import (
    KEYS_TOPIC,
    GenerationStatus,
    KeyStore,
    Rewrapping,
    StoredDataKey,
    StoredKeyGeneration,
    StoredRootKey,
)

INDEX_VERSION = 0
"""The version of a manufacturer's blind-index key. Generations start at 1."""

_REWRAP_BATCH = 500


class StoredKeyRing:
    """Random data keys, wrapped by a root key or a KMS and kept in a store.

    Args:
        wrappers: the wrapper for new data keys, followed by previous ones that may still unwrap.
        store: stores the wrapped keys. It may be separate from the store of the records.
        cache_size: the maximum number of data keys in memory.
        emit: emits an event for each data key that is created.
    """

    def __init__(
        self,
        wrappers: list[KeyWrapper],
        store: KeyStore,
        *,
        clock: Clock,
        cache_size: int = 10_000,
        emit: Emit,
    ) -> None:
        self._wrapper = wrappers[0]
        self._wrappers = {wrapper.root_id: wrapper for wrapper in reversed(wrappers)}
        self._store = store
        self._clock = clock
        self.cache = KeyCache(cache_size)
        self._generations: dict[int, StoredKeyGeneration] = {}
        self._shredded: set[str] = set()
        self._emit = emit
        self._unsubscribe = store.changes.subscribe(KEYS_TOPIC, self._on_change)

    async def open(self) -> None:
        await self._check_roots()
        await self._store.add_root_key(StoredRootKey(root_id=self._wrapper.root_id, created_at=self._clock.now()))
        if not await self.generations():
            await self._start_generation(1, None)

    async def close(self) -> None:
        self._unsubscribe()
        self.cache.drop()

    async def current(self, owner: str) -> DataKey:
        key = self.cache.newest.get(owner)
        if key is not None:
            return key
        self._refuse_shredded(owner)
        epoch = self.cache.epoch
        newest = await self._newest()
        key = await self._load_or_create(owner, newest)
        if epoch == self.cache.epoch:
            self.cache.newest.put(owner, key)
            self.cache.by_id.put((owner, newest.key_id), key)
        return key

    async def find(self, owner: str, key_id: str, version: int, *, allow_revoked: bool = False) -> DataKey:
        generation = self._generations.get(version)
        if generation is None or generation.key_id != key_id:
            generations = await self.generations()  # another process may have rotated just now
            generation = next((g for g in generations if g.version == version), None)
        if generation is None or generation.key_id != key_id or owner in self._shredded:
            raise decryption_failed()
        if generation.status == GenerationStatus.REVOKED and not allow_revoked:
            raise decryption_failed()
        key = self.cache.by_id.get((owner, key_id))
        if key is None:
            epoch = self.cache.epoch
            stored = await self._store.get_data_key(owner, version)
            if stored is None:
                raise decryption_failed()
            key = DataKey(owner, key_id, version, await self._unwrap(stored))
            if epoch == self.cache.epoch:
                self.cache.by_id.put((owner, key_id), key)
        return key

    async def reserve(self, key: DataKey, count: int) -> int:
        key.used = await self._store.reserve_key_uses(key.owner, key.version, count)
        if key.used < 0:
            self._on_change("revoked")  # another process revoked it, and its notice has not arrived yet
        return key.used

    async def rotate(self, reason: str) -> tuple[StoredKeyGeneration, StoredKeyGeneration]:
        old = await self._newest(fresh=True)
        new = await self._start_generation(old.version + 1, reason)
        return self._generations.get(old.version, old), new

    async def rotate_root(self, new: KeyWrapper) -> int:
        """Rewrap every data key with ``new``. Envelopes do not change. May be repeated after a failure."""
        for root in await self._store.list_root_keys():
            if root.root_id == new.root_id:
                _refuse_retired(root)
        self._wrappers[new.root_id] = new
        await self._store.add_root_key(StoredRootKey(root_id=new.root_id, created_at=self._clock.now()))
        changed = await self._rewrap_all(new)
        self._wrapper = new
        while passed := await self._rewrap_all(new):  # keys created under the old root meanwhile
            changed += passed
        for root_id in self._wrappers.keys() - {new.root_id}:
            await self._store.retire_root_key(root_id, now=self._clock.now())
        return changed

    async def revoke(self, key_id: str, *, reason: str, destroy: bool) -> int:
        return await self._store.revoke_key_generation(key_id, now=self._clock.now(), reason=reason, destroy=destroy)

    async def shred(self, owner: str, reason: str) -> int:
        self._shredded.add(owner)
        self.cache.drop()
        return await self._store.shred_data_keys(owner, now=self._clock.now(), reason=reason)

    async def is_shredded(self, owner: str) -> bool:
        if owner not in self._shredded and await self._store.is_shredded(owner):
            self._shredded.add(owner)
        return owner in self._shredded

    async def index_key(self, owner: str) -> bytes:
        key = self.cache.index_keys.get(owner)
        if key is None:
            self._refuse_shredded(owner)
            epoch = self.cache.epoch
            stored = await self._store.get_data_key(owner, INDEX_VERSION) or await self._create(owner, INDEX_VERSION)
            key = await self._unwrap(stored)
            if epoch == self.cache.epoch:
                self.cache.index_keys.put(owner, key)
        return key

    async def generations(self) -> list[StoredKeyGeneration]:
        epoch = self.cache.epoch
        stored = await self._store.list_key_generations()
        if epoch == self.cache.epoch:
            self._generations = {generation.version: generation for generation in stored}
        return stored

    # --- creating and unwrapping ---------------------------------------------------------------------------------

    async def _newest(self, *, fresh: bool = False) -> StoredKeyGeneration:
        if fresh or not self._generations:
            return (await self.generations())[-1]
        return self._generations[max(self._generations)]

    async def _start_generation(self, version: int, reason: str | None) -> StoredKeyGeneration:
        generation = StoredKeyGeneration(
            version=version, key_id=f"key_{secrets.token_hex(8)}", created_at=self._clock.now(), reason=reason
        )
        newest = await self._store.add_key_generation(generation)
        await self.generations()
        return newest

    async def _load_or_create(self, owner: str, generation: StoredKeyGeneration) -> DataKey:
        stored = await self._store.get_data_key(owner, generation.version)
        if stored is None:
            stored = await self._create(owner, generation.version)
        return DataKey(owner, generation.key_id, generation.version, await self._unwrap(stored))

    async def _create(self, owner: str, version: int) -> StoredDataKey:
        wrapped = await self._wrapper.wrap(os.urandom(KEY_BYTES), wrap_context(owner, version))
        created = StoredDataKey(
            manufacturer_id=owner,
            version=version,
            root_id=self._wrapper.root_id,
            wrapped=wrapped,
            created_at=self._clock.now(),
        )
        stored = await self._store.add_data_key(created)
        if stored.wrapped == wrapped:  # another process was not faster
            self._emit(
                event_kinds.ENCRYPTION_KEY_CREATED,
                manufacturer_id=owner or None,
                key_version=version,
                root_id=created.root_id,
            )
        return stored

    async def _unwrap(self, stored: StoredDataKey) -> bytes:
        wrapper = self._wrappers.get(stored.root_id)
        if wrapper is None:
            raise _root_missing(stored.root_id)
        return await wrapper.unwrap(stored.wrapped, wrap_context(stored.manufacturer_id, stored.version))

    async def _rewrap_all(self, new: KeyWrapper) -> int:
        """Make one pass over the data keys. Returns the number of keys that were under another root."""
        after: tuple[str, int] | None = None
        changed = 0
        while page := await self._store.list_data_keys(after=after, limit=_REWRAP_BATCH):
            after = (page[-1].manufacturer_id, page[-1].version)
            stale = [stored for stored in page if stored.root_id != new.root_id]
            if stale:
                changed += await self._store.rewrap_data_keys([await self._rewrap(s, new) for s in stale])
        return changed

    async def _rewrap(self, stored: StoredDataKey, new: KeyWrapper) -> Rewrapping:
        key = await self._unwrap(stored)
        wrapped = await new.wrap(key, wrap_context(stored.manufacturer_id, stored.version))
        return Rewrapping(
            manufacturer_id=stored.manufacturer_id,
            version=stored.version,
            expected=stored.wrapped,
            wrapped=wrapped,
            root_id=new.root_id,
        )

    async def _check_roots(self) -> None:
        """Raise KeyUnavailableError if the root key does not match this store, or was rotated away."""
        for root in await self._store.list_root_keys():
            if root.root_id == self._wrapper.root_id:
                _refuse_retired(root)
            unknown = root.retired_at is None and root.root_id not in self._wrappers
            if unknown and await self._store.list_data_keys(root_id=root.root_id, limit=1):
                raise _root_missing(root.root_id)

    # --- caches -------------------------------------------------------------------------------------------------

    def _refuse_shredded(self, owner: str) -> None:
        if owner in self._shredded:
            raise KeyUnavailableError(
                "The keys of this manufacturer were permanently destroyed.",
                code="KEYS_SHREDDED",
                context={"manufacturer_id": owner},
            )

    def _on_change(self, key: str) -> None:
        kind, _, name = key.partition(":")
        if kind == "shredded":
            self._shredded.add(name)
        if key == ALL or kind in ("rotated", "revoked"):
            self._generations = {}
        self.cache.drop()


def _refuse_retired(root: StoredRootKey) -> None:
    if root.retired_at is not None:
        raise KeyUnavailableError(
            f"This encryption key ({root.root_id}) was rotated away on {root.retired_at:%Y-%m-%d}.",
            code="ROOT_KEY_ROTATED_AWAY",
            context={"root_id": root.root_id},
            recommended_action="Set GATEWRIGHT_ENCRYPTION_KEY to the key that replaced it.",
        )


def _root_missing(root_id: str) -> KeyUnavailableError:
    return KeyUnavailableError(
        f"The encryption key is not the one that wraps the stored data keys ({root_id}).",
        code="ROOT_KEY_MISMATCH",
        context={"root_id": root_id},
        recommended_action="Set GATEWRIGHT_ENCRYPTION_KEY to that key, or add it to "
        "GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS and rotate.",
    )
