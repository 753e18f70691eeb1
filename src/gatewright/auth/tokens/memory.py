"""Verified tokens, remembered: bounded, by hash, and never longer than they are valid."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple


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
    """What stands for a token in memory, so that no memory dump holds a usable one."""
    return hashlib.sha256(token).digest()


class TokenMemory:
    """A bounded dictionary; the oldest go first.

    Args:
        capacity: tokens at the most, about 2 KB each.
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
        """Drop all: a key was replaced or destroyed, so everything must be looked at again."""
        self.entries.clear()

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for key in [key for key, entry in self.entries.items() if entry.expires_at <= now]:
            del self.entries[key]
