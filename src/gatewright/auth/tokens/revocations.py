"""Revoked tokens, and the cache of verified tokens.

A check is a dictionary look-up. Revocations by other processes arrive as change notices, within a fraction of a second.
In case notices fail, each process also reads new revocations from the store at least once per revocation window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from gatewright._async import uninterrupted
from gatewright.caching import BoundedCache
from gatewright.clock import Clock
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.keys import Revocation, RevocationKind, SigningStore


class VerifiedToken(NamedTuple):
    """What is needed to accept a token again: its claims, and what could end it."""

    claims: dict[str, Any]
    roles: list[str]
    expires_at: float
    jti: str
    sid: str | None
    manufacturer_id: str
    account_id: str
    issued_ms: int


def token_hash(token: bytes) -> bytes:
    """The cache key of a token, so that a memory dump contains no usable token."""
    return hashlib.sha256(token).digest()


class VerifiedTokenCache(BoundedCache[bytes, VerifiedToken]):
    """Verified tokens by :func:`token_hash`, about 2 KB each."""

    __slots__ = ()

    def delete_expired(self, now: float) -> None:
        """Evict tokens that have expired."""
        for key in [key for key, entry in self.items() if entry.expires_at <= now]:
            del self[key]


_PAGE = 5_000
"""Revocations read from the store at once."""


class Revocations:
    """Revoked tokens, and cut-offs: times up to which all sessionless tokens of a manufacturer or account are revoked.

    Args:
        window: seconds before the store must be read again.
        capacity: maximum number of revoked tokens in memory. Beyond it, a token that is not cached is also looked up
            in the store.
    """

    def __init__(
        self, store: SigningStore, changes: Changes, clock: Clock, *, window: float, capacity: int = 200_000
    ) -> None:
        self._store = store
        self._clock = clock
        self._window = window
        self._capacity = capacity
        self._tokens: dict[str, float] = {}
        self._cutoffs: dict[str, int] = {}
        self._cutoff_ends: dict[str, float] = {}
        self._last_number = 0
        self._refreshed_at = float("-inf")
        self._overflowed = False
        self._stop: Callable[[], None] = changes.subscribe("token", self._changed)

    def close(self) -> None:
        """Unsubscribe from change notices."""
        self._stop()

    def is_fresh(self, monotonic: float) -> bool:
        """Whether the revocations in memory can be relied on without asking the store."""
        return monotonic - self._refreshed_at <= self._window

    @property
    def complete(self) -> bool:
        """Whether all revoked tokens fit in memory."""
        return not self._overflowed

    def is_revoked(self, jti: str) -> bool:
        """Whether this token is among the revocations in memory."""
        return jti in self._tokens

    def is_cut_off(self, manufacturer_id: str, account_id: str, issued_ms: int) -> bool:
        """Whether a cut-off of the manufacturer or account revokes sessionless tokens issued at ``issued_ms``."""
        if not self._cutoffs:
            return False
        return issued_ms <= max(
            self._cutoffs.get(f"manufacturer:{manufacturer_id}", -1), self._cutoffs.get(f"account:{account_id}", -1)
        )

    def next_millisecond(self, manufacturer_id: str, account_id: str, now_ms: int) -> int:
        """The issue time of a new token, in milliseconds: after every cut-off, even one in the same millisecond."""
        while self._cutoffs and self.is_cut_off(manufacturer_id, account_id, now_ms):
            now_ms += 1
        return now_ms

    async def refresh(self) -> None:
        """Read new revocations from the store.

        Raises:
            StoreUnavailableError: the store is unavailable.
        """
        started = self._clock.monotonic()
        while True:
            page = await self._store.revocations_since(self._last_number, now=self._clock.now(), limit=_PAGE)
            for revocation in page:
                self._last_number = max(self._last_number, revocation.number)
                self._apply(
                    revocation.kind, revocation.subject, revocation.before_ms, revocation.expires_at.timestamp()
                )
            if len(page) < _PAGE:
                self._refreshed_at = started
                return

    async def is_revoked_in_store(self, jti: str) -> bool:
        """Whether the store contains a revocation of this token."""
        return await self._store.is_token_revoked(jti)

    async def revoke_token(self, jti: str, expires_at: datetime) -> None:
        """Revoke one token in all processes."""
        revocation = Revocation(kind=RevocationKind.TOKEN.value, subject=jti, expires_at=expires_at)
        await uninterrupted(self._store.add_revocation(revocation))

    async def cut_off(self, kind: RevocationKind, subject: str, *, longest: timedelta) -> None:
        """Revoke all sessionless tokens of a manufacturer or account issued until now, in all processes.

        Args:
            longest: the longest lifetime of such a token; the cut-off is kept for as long.
        """
        now = self._clock.now()
        revocation = Revocation(
            kind=kind.value, subject=subject, before_ms=int(now.timestamp() * 1000), expires_at=now + longest
        )
        await uninterrupted(self._store.add_revocation(revocation))

    async def delete_expired(self) -> int:
        """Delete revocations of tokens that have expired anyway. Returns how many were deleted from the store."""
        now = self._clock.timestamp()
        for jti in [jti for jti, ends in self._tokens.items() if ends <= now]:
            del self._tokens[jti]
        for name in [name for name, ends in self._cutoff_ends.items() if ends <= now]:
            del self._cutoffs[name], self._cutoff_ends[name]
        return await self._store.delete_expired_revocations(now=self._clock.now())

    def _changed(self, key: str) -> None:
        if key == ALL:
            self._refreshed_at = float("-inf")
            return
        kind, before_ms, ends, subject = key.split(":", 3)
        self._apply(kind, subject, int(before_ms), float(ends))

    def _apply(self, kind: str, subject: str, before_ms: int, ends: float) -> None:
        if kind == RevocationKind.TOKEN:
            self._tokens[subject] = ends
            if len(self._tokens) > self._capacity:
                del self._tokens[next(iter(self._tokens))]
                self._overflowed = True
        else:
            name = f"{kind}:{subject}"
            self._cutoffs[name] = max(before_ms, self._cutoffs.get(name, -1))
            self._cutoff_ends[name] = max(ends, self._cutoff_ends.get(name, 0.0))
