"""Root keys, which derive or wrap data keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from typing import Protocol

from gatewright.encryption.secretbox import KEY_BYTES, SecretBox, derive_key, length_prefixed
from gatewright.errors import DecryptionError, KeyUnavailableError

MIN_PASSPHRASE_LENGTH = 8
"""Production settings require 256 random bits instead."""

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_SCRYPT_SALT = b"gatewright root key 1"
_SCRYPT_COST = 2**15
_REMEDY = "Create a key with `gatewright init` or `openssl rand -hex 32`, and set GATEWRIGHT_ENCRYPTION_KEY."


class KeyWrapper(Protocol):
    """Wraps data keys: a root key in this process, or a key in a KMS or HSM."""

    @property
    def root_id(self) -> str:
        """The public id of the wrapping key, equal in every process."""
        ...

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt ``key``, bound to ``context``."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt a wrapped key. Raises KeyUnavailableError if that fails."""
        ...


class RootKey:
    """A root key of 32 bytes. A key for each purpose is derived from it by HKDF."""

    __slots__ = ("_box", "_secret", "root_id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"A root key must have {KEY_BYTES} bytes, not {len(secret)}.")
        self._secret = secret
        self._box = SecretBox(derive_key(secret, "gatewright key encryption key"))
        self.root_id = "root_" + derive_key(secret, "gatewright root id", length=8).hex()

    def __repr__(self) -> str:
        return f"RootKey({self.root_id})"

    def __reduce__(self) -> str:
        raise TypeError("Keys cannot be pickled: the pickle would contain them in plaintext.")

    def generation_id(self, version: int) -> str:
        """The key id of a generation of keys that are derived from this root."""
        return "key_" + derive_key(self._secret, "gatewright key id", str(version), length=8).hex()

    def data_key(self, owner: str, version: int) -> bytes:
        """The derived data key of a manufacturer, or of data without one (``""``)."""
        return derive_key(self._secret, "gatewright data key", str(version), owner)

    def index_key(self, owner: str) -> bytes:
        """The derived blind-index key of a manufacturer."""
        return derive_key(self._secret, "gatewright index key", owner)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        return self._box.seal(key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._box.open(wrapped, context)
        except DecryptionError:
            raise KeyUnavailableError(
                "A stored data key cannot be unwrapped: it was changed, or moved within the key store.",
                code="DATA_KEY_DAMAGED",
                recommended_action="Restore the key store from a backup. The records are intact.",
            ) from None


def wrap_context(owner: str, version: int) -> bytes:
    """The context of a wrapped data key, so that keys cannot be swapped in the store."""
    return length_prefixed("gatewright data key", owner, str(version))


def root_key(value: str | bytes | None) -> RootKey:
    """Create the root key for ``value``, or a random one for None.

    32 bytes, raw (as ``bytes``), in hex or in base64, are used unchanged. Any other text is a passphrase, which is
    stretched with scrypt (RFC 7914; N = 2^15, r = 8, p = 1). This takes some 100 ms, so call it in a thread.

    Raises:
        KeyUnavailableError: ``value`` is empty or too short (``KEY_TOO_SHORT``).
    """
    if value is None:
        return RootKey(os.urandom(KEY_BYTES))
    if isinstance(value, bytes) and len(value) == KEY_BYTES:
        return RootKey(value)
    text = (value.decode("latin-1") if isinstance(value, bytes) else value).strip()
    return RootKey(_decode(text) or _stretch(text))


def _decode(text: str) -> bytes | None:
    """Decode 32 bytes from hex or base64 (either alphabet, padding optional). None for other text."""
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if not 43 <= len(text) <= 44:
        return None
    try:
        standard = text.rstrip("=").replace("-", "+").replace("_", "/") + "="
        decoded = base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if len(decoded) == KEY_BYTES else None


def _stretch(passphrase: str) -> bytes:
    if len(passphrase) < MIN_PASSPHRASE_LENGTH:
        problem = f"has {len(passphrase)} characters, but needs {MIN_PASSPHRASE_LENGTH}" if passphrase else "is empty"
        raise KeyUnavailableError(f"The encryption key {problem}.", code="KEY_TOO_SHORT", recommended_action=_REMEDY)
    return hashlib.scrypt(
        passphrase.encode(), salt=_SCRYPT_SALT, n=_SCRYPT_COST, r=8, p=1, maxmem=64 * 2**20, dklen=KEY_BYTES
    )
