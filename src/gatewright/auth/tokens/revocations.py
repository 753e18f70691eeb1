"""Revoked tokens, and the cache of verified ones that a revocation empties.

A check is a dictionary look-up. Other processes' revocations arrive with the poll (within a fraction of a
second); beyond that, what is held is compared with the store at least once in every revocation window, so a
process whose notices fail continues for that long and no longer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from gatewright._async import uninterrupted
from gatewright.clock import Clock
from gatewright.storage.changes import ALL, Changes
from gatewright.storage.keys import Revocation, RevocationKind, SigningStore


class Remembered(NamedTuple):
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
    """The representation of a token in memory, so that no memory dump holds a usable one."""
    return hashlib.sha256(token).digest()


class VerifiedTokenCache:
    """A bounded dictionary; the oldest go first.

    Args:
        capacity: tokens at most, about 2 KB each.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.entries: dict[bytes, Remembered] = {}

    def put(self, key: bytes, entry: Remembered) -> None:
        """Remember; room is made by forgetting the oldest."""
        self.entries[key] = entry
        while len(self.entries) > self._capacity:
            del self.entries[next(iter(self.entries))]

    def forget(self, key: bytes) -> None:
        """Drop one, if it is there."""
        self.entries.pop(key, None)

    def clear(self) -> None:
        """Drop all: a key was replaced or destroyed, so everything must be checked again."""
        self.entries.clear()

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for key in [key for key, entry in self.entries.items() if entry.expires_at <= now]:
            del self.entries[key]


_PAGE = 5_000


class Revocations:
    """What is revoked: single tokens, and all sessionless tokens of a manufacturer or account up to a moment.

    Args:
        window: seconds for which what is held counts without another look at the store.
        capacity: single tokens held at most; beyond them each first sight asks the store.
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
        self._number = 0
        self._looked = float("-inf")
        self._overflowed = False
        self._stop: Callable[[], None] = changes.subscribe("token", self._changed)

    def close(self) -> None:
        """Stop listening."""
        self._stop()

    def is_fresh(self, monotonic: float) -> bool:
        """Whether the revocations in memory can be relied on without asking the store."""
        return monotonic - self._looked <= self._window

    @property
    def complete(self) -> bool:
        """Whether all revoked tokens fit in memory."""
        return not self._overflowed

    def is_revoked(self, jti: str) -> bool:
        """Whether this very token was revoked, as far as is held."""
        return jti in self._tokens

    def is_cut_off(self, manufacturer_id: str, account_id: str, issued_ms: int) -> bool:
        """Whether all tokens of that manufacturer or account up to that moment were revoked."""
        if not self._cutoffs:
            return False
        return issued_ms <= max(
            self._cutoffs.get(f"manufacturer:{manufacturer_id}", -1), self._cutoffs.get(f"account:{account_id}", -1)
        )

    def next_millisecond(self, manufacturer_id: str, account_id: str, now_ms: int) -> int:
        """The time for a token made now: after every cut-off, even one of the same millisecond."""
        while self._cutoffs and self.is_cut_off(manufacturer_id, account_id, now_ms):
            now_ms += 1
        return now_ms

    async def refresh(self) -> None:
        """Take in what the store has that is not held yet.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        asked = self._clock.monotonic()
        while True:
            page = await self._store.revocations_since(self._number, now=self._clock.now(), limit=_PAGE)
            for revocation in page:
                self._number = max(self._number, revocation.number)
                self._hold(revocation.kind, revocation.subject, revocation.before_ms, revocation.expires_at.timestamp())
            if len(page) < _PAGE:
                self._looked = asked
                return

    async def is_revoked_in_store(self, jti: str) -> bool:
        """Ask the store itself."""
        return await self._store.is_token_revoked(jti)

    async def revoke_token(self, jti: str, expires_at: datetime) -> None:
        """Revoke one token, everywhere."""
        revocation = Revocation(kind=RevocationKind.TOKEN.value, subject=jti, expires_at=expires_at)
        await uninterrupted(self._store.add_revocation(revocation))

    async def cut_off(self, kind: RevocationKind, subject: str, *, longest: timedelta) -> None:
        """Revoke all sessionless tokens of a manufacturer or account made up to now, everywhere.

        ``longest`` is how long any of them may still live.
        """
        now = self._clock.now()
        revocation = Revocation(
            kind=kind.value, subject=subject, before_ms=int(now.timestamp() * 1000), expires_at=now + longest
        )
        await uninterrupted(self._store.add_revocation(revocation))

    async def delete_expired(self) -> int:
        """Forget what no valid token can be named by any more."""
        now = self._clock.timestamp()
        for jti in [jti for jti, ends in self._tokens.items() if ends <= now]:
            del self._tokens[jti]
        for name in [name for name, ends in self._cutoff_ends.items() if ends <= now]:
            del self._cutoffs[name], self._cutoff_ends[name]
        return await self._store.delete_expired_revocations(now=self._clock.now())

    def _changed(self, key: str) -> None:
        if key == ALL:
            self._looked = float("-inf")
            return
        kind, before_ms, ends, subject = key.split(":", 3)
        self._hold(kind, subject, int(before_ms), float(ends))

    def _hold(self, kind: str, subject: str, before_ms: int, ends: float) -> None:
        if kind == RevocationKind.TOKEN:
            self._tokens[subject] = ends
            if len(self._tokens) > self._capacity:
                del self._tokens[next(iter(self._tokens))]
                self._overflowed = True
        else:
            name = f"{kind}:{subject}"
            self._cutoffs[name] = max(before_ms, self._cutoffs.get(name, -1))
            self._cutoff_ends[name] = max(ends, self._cutoff_ends.get(name, 0.0))
