"""The root secret of identity: what tokens, codes, cookies and the sealing of signing keys are derived from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from gatewright.errors import ConfigurationError

_KEY_BYTES = 32
_SALT = b"gatewright auth root 1"


def root_bytes(secret_key: str | bytes) -> bytes:
    """The root as bytes: a key of 32 bytes or more (raw, hex or base64) as it is, other text stretched with scrypt.

    Raises:
        ConfigurationError: it is empty.
    """
    if not secret_key:
        raise ConfigurationError(
            "secret_key is empty: it must be a secret; make one with `openssl rand -hex 32` or leave it out."
        )
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
