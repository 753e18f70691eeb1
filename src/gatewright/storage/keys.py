"""The storage protocol of wrapped data keys and sealed signing keys.

The key store may live apart from the records (another file, another machine), so that a copy of the records
alone opens nothing, and a shredded manufacturer stays unreadable in every backup that the keys are not in.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gatewright.records import Record
from gatewright.storage.changes import Changes

KEYS_TOPIC = "data_keys"
"""The topic of changes: ``rotated``, ``rewrapped``, ``revoked:<key id>``, ``shredded:<manufacturer id>``."""


class GenerationStatus(StrEnum):
    """What the keys of a generation may be used for."""

    ACTIVE = "active"
    """Seal and open: the newest."""
    RETIRED = "retired"
    """Open."""
    REVOKED = "revoked"
    """Be re-encrypted, nothing else."""
    DESTROYED = "destroyed"
    """Nothing: its keys are gone."""


class StoredRootKey(Record, frozen=True, kw_only=True):
    """A root key that wraps, or wrapped, data keys. ``root_id`` is a fingerprint, not the key."""

    root_id: str
    created_at: datetime
    retired_at: datetime | None = None


class StoredKeyGeneration(Record, frozen=True, kw_only=True):
    """All data keys of one version; ``key_id`` is the name under which envelopes know it."""

    version: int
    key_id: str
    status: str = GenerationStatus.ACTIVE.value
    created_at: datetime
    retired_at: datetime | None = None
    reason: str | None = None


class StoredDataKey(Record, frozen=True, kw_only=True):
    """One manufacturer's key of one generation (version 0: its index key), wrapped by a root key.

    ``uses`` is how many messages were reserved under it. The manufacturer ``""`` represents none.
    """

    manufacturer_id: str
    version: int
    root_id: str
    wrapped: bytes
    created_at: datetime
    uses: int = 0


class Rewrapping(Record, frozen=True, kw_only=True):
    """A data key wrapped again, to take the place of ``expected``."""

    manufacturer_id: str
    version: int
    expected: bytes
    wrapped: bytes
    root_id: str


class StoredReencryption(Record, frozen=True, kw_only=True):
    """How far the re-encryption of one source of records has come."""

    source: str
    target_version: int
    cursor: str | None = None
    scanned: int = 0
    reencrypted: int = 0
    failed: int = 0
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None


class Shredding(Record, frozen=True, kw_only=True):
    """A manufacturer whose keys were destroyed permanently: when, why, and how many."""

    manufacturer_id: str
    shredded_at: datetime
    reason: str
    destroyed: int


class StoredKeys(Record, frozen=True, kw_only=True):
    """All that a key store holds, but for the progress of re-encryption; each list in its order."""

    roots: list[StoredRootKey] = []
    generations: list[StoredKeyGeneration] = []
    data_keys: list[StoredDataKey] = []
    shredded: list[Shredding] = []


class KeyStore(Protocol):
    """Roots, generations, data keys, and the progress of re-encryption."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def list_root_keys(self) -> list[StoredRootKey]: ...

    async def add_root_key(self, root: StoredRootKey) -> None:
        """Note a root key; one that is known already stays as it is."""
        ...

    async def retire_root_key(self, root_id: str, *, now: datetime) -> bool:
        """Note that a root wraps nothing any more; False while it still does (and it is not retired then)."""
        ...

    async def list_key_generations(self) -> list[StoredKeyGeneration]:
        """All, oldest first."""
        ...

    async def add_key_generation(self, generation: StoredKeyGeneration) -> StoredKeyGeneration:
        """Add a generation if its version is the next; the one before is retired.

        Returns:
            The newest generation: the one given, or that of the faster process.
        """
        ...

    async def revoke_key_generation(self, key_id: str, *, now: datetime, reason: str, destroy: bool) -> int:
        """Mark a generation revoked, or with ``destroy`` delete its data keys; how many keys it had.

        Raises:
            KeyUnavailableError: no generation has that id, or it is the active one (rotate first).
        """
        ...

    async def get_data_key(self, manufacturer_id: str, version: int) -> StoredDataKey | None: ...

    async def add_data_key(self, key: StoredDataKey) -> StoredDataKey:
        """Add a data key unless there is one; the one that is there afterwards.

        Raises:
            KeyUnavailableError: the manufacturer was shredded.
        """
        ...

    async def list_data_keys(
        self, *, root_id: str | None = None, after: tuple[str, int] | None = None, limit: int = 500
    ) -> list[StoredDataKey]:
        """Data keys in the order of manufacturer and version, those after ``after``."""
        ...

    async def rewrap_data_keys(self, rewrappings: Sequence[Rewrapping]) -> int:
        """Replace wrapped keys that still are what was expected, all in one step; how many."""
        ...

    async def reserve_key_uses(self, manufacturer_id: str, version: int, count: int) -> int:
        """Add to ``uses``; the sum afterwards, -1 when there is no such key (any more)."""
        ...

    async def shred_data_keys(self, manufacturer_id: str, *, now: datetime, reason: str) -> int:
        """Delete all keys of a manufacturer and remember that it has none permanently; how many there were."""
        ...

    async def is_shredded(self, manufacturer_id: str) -> bool: ...

    async def get_reencryption(self, source: str) -> StoredReencryption | None: ...

    async def save_reencryption(self, progress: StoredReencryption) -> None: ...


class MovableKeys(KeyStore, Protocol):
    """A key store whose contents can go to another one as a whole."""

    async def read_keys(self) -> StoredKeys:
        """Everything, as of one moment."""
        ...

    async def put_keys(self, keys: StoredKeys) -> bool:
        """Take keys over, all in one step, into a store that holds none; False when it holds other ones."""
        ...

    async def erase_keys(self) -> int:
        """Overwrite and delete all keys, and forget that there were any; how many data keys there were."""
        ...


class StoredSigningKey(Record, frozen=True, kw_only=True):
    """A key of the ring, sealed. It signs until ``retired_at``, and verifies until ``expires_at``.

    ``latest_token`` is when the last of its unusually long-lived tokens expires.
    """

    kid: str
    algorithm: str
    sealed: bytes
    created_at: datetime
    retired_at: datetime | None = None
    expires_at: datetime | None = None
    latest_token: datetime | None = None

    def __repr__(self) -> str:
        return f"StoredSigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"


class RevocationKind(StrEnum):
    """What a revocation names."""

    TOKEN = "jti"  # noqa: S105 - the name of a claim
    MANUFACTURER = "manufacturer"
    ACCOUNT = "account"


class Revocation(Record, frozen=True, kw_only=True):
    """One token (``jti``), or all sessionless tokens of a manufacturer or account issued up to ``before_ms``.

    ``number`` grows with each revocation, so that a process can ask for what is new. After ``expires_at`` no
    token that it names can be valid any more.
    """

    number: int = 0
    kind: str
    subject: str
    before_ms: int = 0
    expires_at: datetime


class SigningStore(Protocol):
    """The ring and the revocations. Changes are of topics ``signing_keys`` and ``token``."""

    async def list_signing_keys(self) -> list[StoredSigningKey]:
        """All, oldest first."""
        ...

    async def add_signing_key(
        self, key: StoredSigningKey, *, replaces: str | None, now: datetime, verify_seconds: float
    ) -> bool:
        """Make ``key`` the one that signs, if ``replaces`` is the one that does now (None: no key does).

        The old one is retired and verifies for ``verify_seconds`` more, or until its latest token expires. False
        when another process was faster: exactly one of several concurrent callers gets True.
        """
        ...

    async def note_token_expiry(self, kid: str, expires_at: datetime) -> None:
        """Keep a key for a token that lives longer than usual."""
        ...

    async def delete_signing_keys(self, *, now: datetime) -> list[str]:
        """Destroy the keys that verify nothing any more; their ids."""
        ...

    async def add_revocation(self, revocation: Revocation) -> Revocation:
        """Revoke; the result has its number. The change's key is ``kind:before_ms:expires_at:subject``."""
        ...

    async def revocations_since(self, number: int, *, now: datetime, limit: int) -> list[Revocation]:
        """What was revoked after that number and still matters, in order."""
        ...

    async def is_token_revoked(self, jti: str) -> bool:
        """Whether this one token was revoked, for processes that cannot hold all revocations in memory."""
        ...

    async def delete_expired_revocations(self, *, now: datetime) -> int: ...
