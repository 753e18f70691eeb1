"""The storage protocol of wrapped data keys and sealed signing keys.

The key store can be separate from the records (another file or machine), so that a copy of the records alone cannot
be decrypted, and the data of a shredded manufacturer stays unreadable in every backup without the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gatewright.records import Record
from gatewright.storage.changes import Changes

KEYS_TOPIC = "data_keys"
"""The topic of key changes. Keys: ``rotated``, ``rewrapped``, ``revoked:<key id>``, ``shredded:<manufacturer id>``."""


class GenerationStatus(StrEnum):
    """The permitted uses of the keys in a generation."""

    ACTIVE = "active"
    """Encrypt and decrypt. Only the newest generation is active."""
    RETIRED = "retired"
    """Decrypt only."""
    REVOKED = "revoked"
    """Decrypt for re-encryption only."""
    DESTROYED = "destroyed"
    """None: the keys are deleted."""


class StoredRootKey(Record, frozen=True, kw_only=True):
    """A current or retired root key that wraps data keys. ``root_id`` is a fingerprint, not the key itself."""

    root_id: str
    created_at: datetime
    retired_at: datetime | None = None


class StoredKeyGeneration(Record, frozen=True, kw_only=True):
    """All data keys of one version. Envelopes refer to it by ``key_id``."""

    version: int
    key_id: str
    status: str = GenerationStatus.ACTIVE.value
    created_at: datetime
    retired_at: datetime | None = None
    reason: str | None = None


class StoredDataKey(Record, frozen=True, kw_only=True):
    """The key of one manufacturer in one generation (version 0: its index key), wrapped by a root key.

    ``uses`` counts the encryptions reserved for the key. Manufacturer ``""`` means no manufacturer.
    """

    manufacturer_id: str
    version: int
    root_id: str
    wrapped: bytes
    created_at: datetime
    uses: int = 0


class Rewrapping(Record, frozen=True, kw_only=True):
    """A rewrapped data key that replaces ``expected``."""

    manufacturer_id: str
    version: int
    expected: bytes
    wrapped: bytes
    root_id: str


class StoredReencryption(Record, frozen=True, kw_only=True):
    """The progress of re-encrypting one source of records."""

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
    """The permanent destruction of a manufacturer's keys: when, why, and how many."""

    manufacturer_id: str
    shredded_at: datetime
    reason: str
    destroyed: int


class StoredKeys(Record, frozen=True, kw_only=True):
    """The contents of a key store, except re-encryption progress. Each list is sorted."""

    roots: list[StoredRootKey] = []
    generations: list[StoredKeyGeneration] = []
    data_keys: list[StoredDataKey] = []
    shredded: list[Shredding] = []


class KeyStore(Protocol):
    """Root keys, generations, data keys and re-encryption progress."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def list_root_keys(self) -> list[StoredRootKey]: ...

    async def add_root_key(self, root: StoredRootKey) -> None:
        """Register a root key; a known one is left unchanged."""
        ...

    async def retire_root_key(self, root_id: str, *, now: datetime) -> bool:
        """Retire a root key; False, with no change, while it still wraps data keys."""
        ...

    async def list_key_generations(self) -> list[StoredKeyGeneration]:
        """List generations, oldest first."""
        ...

    async def add_key_generation(self, generation: StoredKeyGeneration) -> StoredKeyGeneration:
        """Add a generation if its version is the next one, and retire the previous generation.

        Returns:
            The newest generation: the given one, or the one that another process added first.
        """
        ...

    async def revoke_key_generation(self, key_id: str, *, now: datetime, reason: str, destroy: bool) -> int:
        """Revoke a generation, or with ``destroy`` delete its data keys. Returns the number of its keys.

        Raises:
            KeyUnavailableError: the generation is unknown, or active (rotate first).
        """
        ...

    async def get_data_key(self, manufacturer_id: str, version: int) -> StoredDataKey | None: ...

    async def add_data_key(self, key: StoredDataKey) -> StoredDataKey:
        """Add a data key unless one exists, and return the stored one.

        Raises:
            KeyUnavailableError: the keys of the manufacturer were shredded.
        """
        ...

    async def list_data_keys(
        self, *, root_id: str | None = None, after: tuple[str, int] | None = None, limit: int = 500
    ) -> list[StoredDataKey]:
        """List data keys after ``after``, ordered by manufacturer and version."""
        ...

    async def rewrap_data_keys(self, rewrappings: Sequence[Rewrapping]) -> int:
        """Replace the wrapped keys that still equal ``expected``, in one step, and return their number."""
        ...

    async def reserve_key_uses(self, manufacturer_id: str, version: int, count: int) -> int:
        """Add to ``uses`` and return the new total; -1 if the key does not exist."""
        ...

    async def shred_data_keys(self, manufacturer_id: str, *, now: datetime, reason: str) -> int:
        """Delete all keys of a manufacturer, refuse new ones permanently, and return the number deleted."""
        ...

    async def is_shredded(self, manufacturer_id: str) -> bool: ...

    async def get_reencryption(self, source: str) -> StoredReencryption | None: ...

    async def save_reencryption(self, progress: StoredReencryption) -> None: ...


class MovableKeys(KeyStore, Protocol):
    """A key store with contents that can be moved to another store."""

    async def read_keys(self) -> StoredKeys:
        """Return all keys, from one snapshot."""
        ...

    async def put_keys(self, keys: StoredKeys) -> bool:
        """Import keys into an empty store, in one step; False if the store contains different keys."""
        ...

    async def erase_keys(self) -> int:
        """Overwrite and delete all keys and their history, and return the number of data keys."""
        ...


class StoredSigningKey(Record, frozen=True, kw_only=True):
    """A sealed signing key. It signs until ``retired_at`` and verifies until ``expires_at``.

    ``latest_token`` is the latest expiry of its long-lived tokens.
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
    """The subject of a revocation."""

    TOKEN = "jti"  # noqa: S105 - the name of a claim
    MANUFACTURER = "manufacturer"
    ACCOUNT = "account"


class Revocation(Record, frozen=True, kw_only=True):
    """Revokes one token (``jti``), or all sessionless tokens of a manufacturer or account issued up to ``before_ms``.

    ``number`` increases with each revocation, so that a process can fetch new ones. After ``expires_at`` every token
    it covers has expired.
    """

    number: int = 0
    kind: str
    subject: str
    before_ms: int = 0
    expires_at: datetime


class SigningStore(Protocol):
    """Signing keys and revocations. Changes are published under topics ``signing_keys`` and ``token``."""

    async def list_signing_keys(self) -> list[StoredSigningKey]:
        """List signing keys, oldest first."""
        ...

    async def add_signing_key(
        self, key: StoredSigningKey, *, replaces: str | None, now: datetime, verify_seconds: float
    ) -> bool:
        """Make ``key`` the signing key if ``replaces`` is the current one (None: there is none).

        The old key is retired, and verifies for another ``verify_seconds`` or until its latest token expires. Exactly
        one of several concurrent callers gets True.
        """
        ...

    async def note_token_expiry(self, kid: str, expires_at: datetime) -> None:
        """Extend the verification period of a key to cover a long-lived token."""
        ...

    async def delete_signing_keys(self, *, now: datetime) -> list[str]:
        """Delete expired signing keys, and return their ids."""
        ...

    async def add_revocation(self, revocation: Revocation) -> Revocation:
        """Store a revocation and return it numbered. Published with key ``kind:before_ms:expires_at:subject``."""
        ...

    async def revocations_since(self, number: int, *, now: datetime, limit: int) -> list[Revocation]:
        """List unexpired revocations above ``number``, in order."""
        ...

    async def is_token_revoked(self, jti: str) -> bool:
        """Whether this token was revoked, for processes that cannot cache all revocations."""
        ...

    async def delete_expired_revocations(self, *, now: datetime) -> int: ...
