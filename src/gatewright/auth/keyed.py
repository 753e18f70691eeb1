"""Keyed hashes: what stands in the store in place of a token, code or key."""

from __future__ import annotations

import hashlib
import hmac
import secrets

TOKEN_BYTES = 32
"""Random bytes in a token: 256 bits, so a fast hash is enough to keep it."""


class KeyedHash:
    """HMAC-SHA-256 over labelled parts (RFC 2104), so that a stolen store lets nobody try codes against it.

    Args:
        key: 32 bytes, derived from the root secret for this use alone.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a hash key has at least 32 bytes")
        self._key = key

    def __repr__(self) -> str:
        return "KeyedHash(...)"

    def of(self, label: str, *parts: str) -> str:
        """The hash of the parts, in hex. Lengths are hashed too: no two lists of parts collide."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in (label, *parts):
            encoded = part.encode("utf-8", "surrogatepass")
            mac.update(len(encoded).to_bytes(8, "big"))
            mac.update(encoded)
        return mac.hexdigest()

    def matches(self, expected: str, label: str, *parts: str) -> bool:
        """Whether :meth:`of` gives ``expected``, in constant time."""
        return hmac.compare_digest(self.of(label, *parts).encode(), expected.encode("utf-8", "surrogatepass"))


def new_token() -> str:
    """A random URL-safe token of 256 bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)
