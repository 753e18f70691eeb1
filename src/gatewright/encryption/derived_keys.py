"""The key ring without a durable store: data keys are derived from the root."""

from __future__ import annotations

import msgspec

from gatewright.clock import Clock
from gatewright.encryption.data_key import DataKey, KeyCache
from gatewright.encryption.root import KeyWrapper, RootKey
from gatewright.encryption.secretbox import decryption_failed
from gatewright.errors import ConfigurationError, KeyUnavailableError
from gatewright.storage.keys import GenerationStatus, StoredKeyGeneration

MAX_VERSION = 2**31 - 1


class DerivedKeyRing:
    """Derives each data key by HKDF over manufacturer and version: the same root gives the same keys.

    Rotations, revocations and shredding last as long as the process. Keys of versions that this process has not
    used yet are found by their ids, so envelopes of earlier processes still open.

    Args:
        roots: the root key for new data keys, followed by previous ones that may still open envelopes.
        version: the first key version.
        cache_size: the maximum number of data keys in memory.
    """

    def __init__(self, roots: list[RootKey], *, clock: Clock, version: int = 1, cache_size: int = 10_000) -> None:
        self._roots = list(roots)
        self._index_root = roots[0]
        self._clock = clock
        self.cache = KeyCache(cache_size)
        self._shredded: set[str] = set()
        self._generations = [self._generation(version, None)]

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        self.cache.drop()

    async def current(self, owner: str) -> DataKey:
        key = self.cache.newest.get(owner)
        if key is None:
            if owner in self._shredded:
                raise KeyUnavailableError(
                    "The keys of this manufacturer were permanently destroyed.",
                    code="KEYS_SHREDDED",
                    context={"manufacturer_id": owner},
                )
            newest = self._generations[-1]
            key = DataKey(owner, newest.key_id, newest.version, self._roots[0].data_key(owner, newest.version))
            self.cache.newest.put(owner, key)
        return key

    async def find(self, owner: str, key_id: str, version: int, *, allow_revoked: bool = False) -> DataKey:
        key = self.cache.by_id.get((owner, key_id))
        if key is None or key.version != version:
            key = self._derive(owner, key_id, version)
            self.cache.by_id.put((owner, key_id), key)
        status = next((g.status for g in self._generations if g.key_id == key_id), GenerationStatus.RETIRED)
        if status == GenerationStatus.DESTROYED or (status == GenerationStatus.REVOKED and not allow_revoked):
            raise decryption_failed()
        return key

    def _derive(self, owner: str, key_id: str, version: int) -> DataKey:
        if owner in self._shredded or not 1 <= version <= MAX_VERSION:
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
        self.cache.drop()
        return old, new

    async def rotate_root(self, new: KeyWrapper) -> int:
        """Derive new keys from ``new``. Previous roots can still open envelopes in this process."""
        if not isinstance(new, RootKey):
            raise ConfigurationError(
                "A key wrapper requires a durable key store for the wrapped data keys. Pass store=."
            )
        if new.root_id != self._roots[0].root_id:
            self._roots = [new, *(root for root in self._roots if root.root_id != new.root_id)]
            await self.rotate("new root key")
        return 0

    async def revoke(self, key_id: str, *, reason: str, destroy: bool) -> int:
        for index, generation in enumerate(self._generations[:-1]):
            if generation.key_id == key_id:
                status = GenerationStatus.DESTROYED if destroy else GenerationStatus.REVOKED
                self._generations[index] = msgspec.structs.replace(generation, status=status.value, reason=reason)
                self.cache.drop()
                return 0
        fault = "is active; rotate first" if key_id == self._generations[-1].key_id else "is not known"
        raise KeyUnavailableError(f"Cannot revoke key generation {key_id}: it {fault}.")

    async def shred(self, owner: str, reason: str) -> int:
        self._shredded.add(owner)
        self.cache.drop()
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
