"""Root keys, from which data keys are derived or by which they are wrapped."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from typing import Protocol

from gatewright.encryption.secretbox import KEY_BYTES, SecretBox, derive_key, joined
from gatewright.errors import DecryptionError, KeyUnavailableError

SHORTEST_PASSPHRASE = 8
"""Characters. Production settings ask for 256 random bits instead."""

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_SCRYPT_SALT = b"gatewright root key 1"
_SCRYPT_COST = 2**15
_REMEDY = "Make a key with `gatewright init` or `openssl rand -hex 32` and set GATEWRIGHT_ENCRYPTION_KEY."


class KeyWrapper(Protocol):
    """What wraps data keys: the root key of this process, or a key that stays in a KMS or HSM."""

    @property
    def root_id(self) -> str:
        """A public name of the wrapping key; the same key has the same name everywhere."""
        ...

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """``key`` encrypted, bound to ``context``."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """What :meth:`wrap` was given; raises KeyUnavailableError when it does not open."""
        ...


class RootKey:
    """A root of 32 bytes. Everything else is derived from it by HKDF, one key for each purpose."""

    __slots__ = ("_box", "_secret", "root_id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError("a root key has 32 bytes")
        self._secret = secret
        self._box = SecretBox(derive_key(secret, "gatewright key encryption key"))
        self.root_id = "root_" + derive_key(secret, "gatewright root id", length=8).hex()

    def __repr__(self) -> str:
        return f"RootKey({self.root_id})"

    def __reduce__(self) -> str:
        raise TypeError("keys are not pickled: that would write them in plain text")

    def generation_id(self, version: int) -> str:
        """The key id of the generation ``version`` of keys derived from this root."""
        return "key_" + derive_key(self._secret, "gatewright key id", str(version), length=8).hex()

    def data_key(self, owner: str, version: int) -> bytes:
        """The derived data key of a manufacturer (``""``: of none)."""
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
                "A stored data key cannot be unwrapped: it was altered, or moved within the key store.",
                code="DATA_KEY_DAMAGED",
                recommended_action="Restore the key store from a backup; the records themselves are intact.",
            ) from None


def wrap_context(owner: str, version: int) -> bytes:
    """What a wrapped data key is bound to, so that keys cannot change places in the store."""
    return joined("gatewright data key", owner, str(version))


def root_key(value: str | bytes | None) -> RootKey:
    """The root key that ``value`` represents; a fresh one for None.

    32 bytes, raw (as ``bytes``), in hex or in base64, are taken as they are. Any other text is a passphrase and
    is stretched with scrypt (RFC 7914; N = 2^15, r = 8, p = 1: some 100 ms, so call this on a thread).

    Raises:
        KeyUnavailableError: it is empty or too short (``KEY_TOO_SHORT``).
    """
    if value is None:
        return RootKey(os.urandom(KEY_BYTES))
    if isinstance(value, bytes) and len(value) == KEY_BYTES:
        return RootKey(value)
    text = (value.decode("latin-1") if isinstance(value, bytes) else value).strip()
    return RootKey(_decoded(text) or _stretched(text))


def _decoded(text: str) -> bytes | None:
    """32 bytes out of hex or base64 (either alphabet, padding optional); None for other text."""
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


def _stretched(passphrase: str) -> bytes:
    if len(passphrase) < SHORTEST_PASSPHRASE:
        wrong = f"has {len(passphrase)} characters, of at least {SHORTEST_PASSPHRASE}" if passphrase else "is empty"
        raise KeyUnavailableError(f"The encryption key {wrong}.", code="KEY_TOO_SHORT", recommended_action=_REMEDY)
    return hashlib.scrypt(
        passphrase.encode(), salt=_SCRYPT_SALT, n=_SCRYPT_COST, r=8, p=1, maxmem=64 * 2**20, dklen=KEY_BYTES
    )
