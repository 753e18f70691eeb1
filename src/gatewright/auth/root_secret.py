"""The root secret of identity, keyed hashes of tokens, codes and keys, and bounds of untrusted text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from gatewright.errors import ConfigurationError

_KEY_BYTES = 32
_SALT = b"gatewright auth root 1"


def root_bytes(secret_key: str | bytes) -> bytes:
    """The root as bytes: a key of 32 bytes or more (raw, hex or base64) as it is, other text stretched with scrypt.

    Raises:
        ConfigurationError: it is empty.
    """
    if not secret_key:
        raise ConfigurationError("secret_key is empty; generate one with `openssl rand -hex 32`, or omit it.")
    if isinstance(secret_key, bytes):
        return secret_key if len(secret_key) >= _KEY_BYTES else _stretch(secret_key)
    text = secret_key.strip()
    if re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,}", text):
        return bytes.fromhex(text)
    try:
        decoded = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        decoded = b""
    return decoded if len(decoded) >= _KEY_BYTES else _stretch(secret_key.encode("utf-8", "surrogatepass"))


def _stretch(secret: bytes) -> bytes:
    """32 bytes that cost about 50 ms to try a guess for (RFC 7914); the salt is fixed so that a restart agrees."""
    return hashlib.scrypt(secret, salt=_SALT, n=2**14, r=8, p=1, dklen=_KEY_BYTES)


TOKEN_BYTES = 32
"""Random bytes in a token: 256 bits, so a fast hash is enough to keep it."""


class KeyedHash:
    """HMAC-SHA-256 over labeled parts (RFC 2104), so that codes cannot be tried against a stolen store.

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


def bounded_text(value: object, limit: int) -> str:
    """The text, or an empty one for what is no text, is longer than ``limit`` characters, or is no Unicode
    (a lone surrogate has no bytes)."""
    if not isinstance(value, str) or len(value) > limit:
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value
