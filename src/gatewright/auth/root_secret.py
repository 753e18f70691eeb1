"""The root secret, keyed hashes of tokens, codes and keys, and a limit for untrusted text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from gatewright.errors import ConfigurationError
from gatewright.references import is_unicode

_KEY_BYTES = 32
_SALT = b"gatewright auth root 1"


def root_bytes(secret_key: str | bytes) -> bytes:
    """The root secret as bytes. A key of at least 32 bytes (raw, hex or Base64) is used as is, other text with scrypt.

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
    """Derive 32 bytes with scrypt (RFC 7914), at about 50 ms a guess. A fixed salt gives the same bytes every time."""
    return hashlib.scrypt(secret, salt=_SALT, n=2**14, r=8, p=1, dklen=_KEY_BYTES)


TOKEN_BYTES = 32
"""Random bytes in a token. With 256 bits, a fast hash is enough to store it."""


class KeyedHash:
    """HMAC-SHA-256 of labeled parts (RFC 2104), so that a stolen store does not help to guess codes.

    Args:
        key: 32 bytes, derived from the root secret for this purpose only.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("The hash key is too short. Use at least 32 bytes.")
        self._key = key

    def __repr__(self) -> str:
        return "KeyedHash(...)"

    def of(self, label: str, *parts: str) -> str:
        """The hash of the parts, in hex. It includes their lengths, so that no two lists of parts collide."""
        mac = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in (label, *parts):
            encoded = part.encode("utf-8", "surrogatepass")
            mac.update(len(encoded).to_bytes(8, "big"))
            mac.update(encoded)
        return mac.hexdigest()

    def matches(self, expected: str, label: str, *parts: str) -> bool:
        """Compare :meth:`of` with ``expected``, in constant time."""
        return hmac.compare_digest(self.of(label, *parts).encode(), expected.encode("utf-8", "surrogatepass"))


def new_token() -> str:
    """A random, URL-safe token with 256 bits of entropy."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def bounded_text(value: object, limit: int) -> str:
    """The text. Empty if it is not text, is longer than ``limit`` characters, or cannot be encoded."""
    if not isinstance(value, str) or len(value) > limit or not is_unicode(value):
        return ""
    return value
