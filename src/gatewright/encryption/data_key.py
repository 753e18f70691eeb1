"""Data keys, and the protocol of key rings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from gatewright.encryption.envelope import MESSAGES_PER_SUBKEY, Algorithm, Subkey, known_subkey, new_subkey
from gatewright.encryption.root import KeyWrapper
from gatewright.storage.keys import StoredKeyGeneration

K = TypeVar("K")
V = TypeVar("V")

FIRST_LEASE = 1024
"""Messages that a process reserves under a key at first; each further lease is twice as large."""


class DataKey:
    """One manufacturer's key of one version, in plaintext, for as long as the process keeps it in memory.

    ``owner`` is the manufacturer id, ``""`` for data of no manufacturer.
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
        raise TypeError("keys are not pickled: that would write them in plain text")

    def next_lease(self, limit: int) -> int:
        """How many messages to reserve next, at most ``limit``."""
        lease = min(self._lease, limit, MESSAGES_PER_SUBKEY)
        self._lease = min(self._lease * 2, MESSAGES_PER_SUBKEY)
        return lease

    def add_sealer(self, algorithm: Algorithm, flags: int, messages: int) -> Subkey:
        """A fresh subkey that may seal that many messages."""
        subkey = self.sealers[flags] = new_subkey(self.secret, algorithm, flags, remaining=messages)
        if not flags:
            self.plain = subkey
        return subkey

    def opener(self, algorithm: str, prefix: str) -> Subkey:
        """The subkey of a payload; raises DecryptionError when this key did not make it."""
        return known_subkey(self.secret, algorithm, prefix)


class KeyRing(Protocol):
    """Gives out data keys: derived from the root, or kept wrapped in a store."""

    forgotten: Callable[[], None]
    """Called when keys that were given out may be used no longer."""

    epoch: int
    """Grows with each such moment: what was asked for before it must not be kept after it."""

    in_use: BoundedCache[str, DataKey]
    """Owners' newest keys that are in memory. Never replaced, only filled and cleared."""

    async def open(self) -> None:
        """Make ready; raises KeyUnavailableError when the root does not fit the store."""
        ...

    async def close(self) -> None: ...

    async def current(self, owner: str) -> DataKey:
        """The owner's newest key; raises KeyUnavailableError when it was shredded."""
        ...

    async def find(self, owner: str, key_id: str, version: int, *, rescue: bool = False) -> DataKey:
        """The key of an envelope. With ``rescue``, keys that were revoked are given out too.

        Raises:
            DecryptionError: there is no such key (any more).
        """
        ...

    async def reserve(self, key: DataKey, count: int) -> int:
        """Count that many messages more under the key; the sum so far, negative when the key is gone."""
        ...

    async def rotate(self, reason: str) -> tuple[StoredKeyGeneration, StoredKeyGeneration]:
        """Begin a new generation; the one before, and the new one."""
        ...

    async def rotate_root(self, new: KeyWrapper) -> int:
        """Replace the root by ``new`` and return how many data keys were rewrapped."""
        ...

    async def revoke(self, key_id: str, *, reason: str, destroy: bool) -> int:
        """Let a generation be used no longer; how many keys it has."""
        ...

    async def shred(self, owner: str, reason: str) -> int:
        """Destroy all keys of an owner; how many there were."""
        ...

    async def is_shredded(self, owner: str) -> bool:
        """Whether the keys of an owner were destroyed permanently."""
        ...

    async def index_key(self, owner: str) -> bytes:
        """The owner's key for blind indexes."""
        ...

    async def generations(self) -> list[StoredKeyGeneration]:
        """All that are known, oldest first."""
        ...


class BoundedCache(dict[K, V]):
    """A dictionary that drops its oldest entry when it is full; reading costs no more than a dictionary.

    Args:
        limit: entries at most.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def put(self, key: K, value: V) -> None:
        """Add an entry, making room for it."""
        if len(self) >= self.limit and key not in self:
            del self[next(iter(self))]
        self[key] = value
