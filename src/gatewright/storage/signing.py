"""Signing keys and revocations: what every store keeps so that tokens can be checked anywhere."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gatewright.records import Record


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
        when another process was faster: exactly one of several callers is told True.
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
