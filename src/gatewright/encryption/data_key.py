"""Data keys, their cache, and the protocol of key rings."""

from __future__ import annotations

from typing import Protocol

from gatewright.caching import BoundedCache
from gatewright.encryption.envelope import MESSAGES_PER_SUBKEY, Algorithm, Subkey, known_subkey, new_subkey
from gatewright.encryption.root import KeyWrapper
from gatewright.storage.keys import StoredKeyGeneration

FIRST_LEASE = 1024
"""Messages in the first reservation of a process under a key. Each further reservation is twice as large."""

_MAX_OPENERS = 4096


class DataKey:
    """One manufacturer's plaintext key of one version, in the memory of this process.

    ``owner`` is the manufacturer id, or ``""`` for data without a manufacturer.
    """

    __slots__ = ("_lease", "key_id", "owner", "plain", "sealers", "secret", "used", "version")

    def __init__(self, owner: str, key_id: str, version: int, secret: bytes) -> None:
        self.owner = owner
        self.key_id = key_id
        self.version = version
        self.secret = secret
        self.used = 0
        self.sealers: dict[int, Subkey] = {}
        self.plain: Subkey | None = None
        self._lease = FIRST_LEASE

    def __repr__(self) -> str:
        return f"DataKey({self.key_id}, version={self.version})"

    def __reduce__(self) -> str:
        raise TypeError("Keys cannot be pickled: the pickle would contain them in plaintext.")

    def next_lease(self, limit: int) -> int:
        """The number of messages to reserve next, at most ``limit``."""
        lease = min(self._lease, limit, MESSAGES_PER_SUBKEY)
        self._lease = min(self._lease * 2, MESSAGES_PER_SUBKEY)
        return lease

    def add_sealer(self, algorithm: Algorithm, flags: int, messages: int) -> Subkey:
        """Create a subkey that may seal ``messages`` messages."""
        subkey = self.sealers[flags] = new_subkey(self.secret, algorithm, flags, remaining=messages)
        if not flags:
            self.plain = subkey
        return subkey

    def opener(self, algorithm: str, prefix: str) -> Subkey:
        """The subkey of a payload. Raises DecryptionError if another key sealed it."""
        return known_subkey(self.secret, algorithm, prefix)


class KeyCache:
    """The keys in memory. Everything is dropped at once when a key may no longer be used.

    Args:
        capacity: the maximum number of data keys.
    """

    def __init__(self, capacity: int) -> None:
        self.newest: BoundedCache[str, DataKey] = BoundedCache(capacity)
        """The newest key of each owner."""
        self.by_id: BoundedCache[tuple[str, str], DataKey] = BoundedCache(capacity)
        """Keys by owner and key id."""
        self.index_keys: BoundedCache[str, bytes] = BoundedCache(capacity)
        """Blind-index keys by owner."""
        self.openers: BoundedCache[str, tuple[DataKey, Subkey]] = BoundedCache(_MAX_OPENERS)
        """Subkeys by the prefix of the payloads that they open."""
        self.epoch = 0
        """Grows whenever the cache is dropped. What was requested in an earlier epoch must not be cached."""

    def drop(self) -> None:
        """Drop every key, and start a new epoch."""
        self.epoch += 1
        for cache in (self.newest, self.by_id, self.index_keys, self.openers):
            cache.invalidate()


class KeyRing(Protocol):
    """A source of data keys: derived from the root key, or stored in wrapped form."""

    cache: KeyCache
    """The keys in memory. The object is never replaced, so its caches may be kept by reference."""

    async def open(self) -> None:
        """Prepare the ring. Raises KeyUnavailableError if the root key does not match the store."""
        ...

    async def close(self) -> None: ...

    async def current(self, owner: str) -> DataKey:
        """The owner's newest key. Raises KeyUnavailableError if the owner's keys were shredded."""
        ...

    async def find(self, owner: str, key_id: str, version: int, *, allow_revoked: bool = False) -> DataKey:
        """The key of an envelope.

        Raises:
            DecryptionError: the key does not exist, or is revoked and ``allow_revoked`` is not set.
        """
        ...

    async def reserve(self, key: DataKey, count: int) -> int:
        """Reserve ``count`` more messages under the key. Returns the total, or a negative number if the key is gone."""
        ...

    async def rotate(self, reason: str) -> tuple[StoredKeyGeneration, StoredKeyGeneration]:
        """Start a new generation. Returns the previous generation and the new one."""
        ...

    async def rotate_root(self, new: KeyWrapper) -> int:
        """Replace the root key. Returns the number of data keys that were rewrapped."""
        ...

    async def revoke(self, key_id: str, *, reason: str, destroy: bool) -> int:
        """Revoke a generation. Returns the number of its keys."""
        ...

    async def shred(self, owner: str, reason: str) -> int:
        """Destroy all keys of an owner. Returns the number of keys."""
        ...

    async def is_shredded(self, owner: str) -> bool:
        """Whether the keys of an owner were destroyed permanently."""
        ...

    async def index_key(self, owner: str) -> bytes:
        """The owner's key for blind indexes."""
        ...

    async def generations(self) -> list[StoredKeyGeneration]:
        """All known generations, oldest first."""
        ...
