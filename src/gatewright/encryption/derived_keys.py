"""The key ring without a durable store: data keys are derived from the root."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gatewright.clock import Clock
from gatewright.encryption.data_key import BoundedCache, DataKey
from gatewright.encryption.root import KeyWrapper, RootKey
from gatewright.encryption.secretbox import decryption_failed
from gatewright.errors import ConfigurationError, KeyUnavailableError
from gatewright.storage.keys import GenerationStatus, StoredKeyGeneration

HIGHEST_VERSION = 2**31 - 1


class DerivedKeyRing:
    """Derives each data key by HKDF over manufacturer and version: the same root gives the same keys.

    What it learns (rotations, revocations, who was shredded) lasts as long as the process. Keys of versions
    that this process has not made yet are found by their ids, so envelopes of a process before it open.

    Args:
        roots: the root for new keys first, then older ones that may still open.
        version: the key version to begin with.
        cache_size: data keys in memory at most.
    """

    def __init__(self, roots: list[RootKey], *, clock: Clock, version: int = 1, cache_size: int = 10_000) -> None:
        self._roots = list(roots)
        self._index_root = roots[0]
        self._clock = clock
        self.in_use: BoundedCache[str, DataKey] = BoundedCache(cache_size)
        self._found: BoundedCache[tuple[str, str], DataKey] = BoundedCache(cache_size)
        self._shredded: set[str] = set()
        self._generations = [self._generation(version, None)]
        self.epoch = 0
        self.forgotten: Callable[[], None] = _ignore

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        self._forget()

    @property
    def roots(self) -> list[str]:
        """The ids of the roots, the newest first."""
        return [root.root_id for root in self._roots]

    async def current(self, owner: str) -> DataKey:
        key = self.in_use.get(owner)
        if key is None:
            if owner in self._shredded:
                raise KeyUnavailableError(
                    "The keys of this manufacturer were permanently destroyed.",
                    code="KEYS_SHREDDED",
                    context={"manufacturer_id": owner},
                )
            newest = self._generations[-1]
            key = DataKey(owner, newest.key_id, newest.version, self._roots[0].data_key(owner, newest.version))
            self.in_use.put(owner, key)
        return key

    async def find(self, owner: str, key_id: str, version: int, *, rescue: bool = False) -> DataKey:
        key = self._found.get((owner, key_id))
        if key is None or key.version != version:
            key = self._derive(owner, key_id, version)
            self._found.put((owner, key_id), key)
        status = next((g.status for g in self._generations if g.key_id == key_id), GenerationStatus.RETIRED)
        if status == GenerationStatus.DESTROYED or (status == GenerationStatus.REVOKED and not rescue):
            raise decryption_failed()
        return key

    def _derive(self, owner: str, key_id: str, version: int) -> DataKey:
        if owner in self._shredded or not 1 <= version <= HIGHEST_VERSION:
            raise decryption_failed()
        for root in self._roots:
            if root.generation_id(version) == key_id:
                return DataKey(owner, key_id, version, root.data_key(owner, version))
        raise decryption_failed()

    async def reserve(self, key: DataKey, count: int) -> int:
        key.used += count
        return key.used

    async def rotate(self, reason: str) -> tuple[StoredKeyGeneration, StoredKeyGeneration]:
        old = self._generations[-1]
        if old.status == GenerationStatus.ACTIVE:
            old = msgspec.structs.replace(old, status=GenerationStatus.RETIRED.value, retired_at=self._clock.now())
        new = self._generation(old.version + 1, reason)
        self._generations[-1:] = [old, new]
        self._forget()
        return old, new

    async def rotate_root(self, new: KeyWrapper) -> int:
        """Derive new keys from ``new``; the roots before continue opening, in this process."""
        if not isinstance(new, RootKey):
            raise ConfigurationError("A key that wraps data keys needs a durable key store to keep them in.")
        if new.root_id != self._roots[0].root_id:
            self._roots = [new, *(root for root in self._roots if root.root_id != new.root_id)]
            await self.rotate("new root key")
        return 0

    async def revoke(self, key_id: str, *, reason: str, destroy: bool) -> int:
        for place, generation in enumerate(self._generations[:-1]):
            if generation.key_id == key_id:
                status = GenerationStatus.DESTROYED if destroy else GenerationStatus.REVOKED
                changed = msgspec.structs.replace(generation, status=status.value, reason=reason)
                self._generations[place] = changed
                self._forget()
                return 0
        fault = "is the active one; rotate first" if key_id == self._generations[-1].key_id else "is not known"
        raise KeyUnavailableError(f"The key generation {key_id} cannot be revoked: it {fault}.")

    async def shred(self, owner: str, reason: str) -> int:
        self._shredded.add(owner)
        self._forget()
        return len(self._generations)

    async def is_shredded(self, owner: str) -> bool:
        return owner in self._shredded

    async def index_key(self, owner: str) -> bytes:
        if owner in self._shredded:
            await self.current(owner)
        return self._index_root.index_key(owner)

    async def generations(self) -> list[StoredKeyGeneration]:
        return list(self._generations)

    def _generation(self, version: int, reason: str | None) -> StoredKeyGeneration:
        key_id = self._roots[0].generation_id(version)
        return StoredKeyGeneration(version=version, key_id=key_id, created_at=self._clock.now(), reason=reason)

    def _forget(self) -> None:
        self.epoch += 1
        self.in_use.clear()
        self._found.clear()
        self.forgotten()


def _ignore() -> None:
    return None
