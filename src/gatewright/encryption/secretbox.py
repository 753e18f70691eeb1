"""Secret box: authenticated encryption of single secrets, and key derivation."""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from gatewright.errors import DecryptionError

MESSAGE = "The data could not be decrypted."


def decryption_failed() -> DecryptionError:
    """The error for every payload that cannot be decrypted. It never reveals which check failed."""
    return DecryptionError(MESSAGE)


KEY_BYTES = 32
"""The length of every symmetric key: 256 bits."""


def derive_key(root: bytes, *info: str | bytes, length: int = KEY_BYTES) -> bytes:
    """Derive a key for one purpose by HKDF-SHA256.

    The parts of ``info`` are length-prefixed, so ``("ab", "c")`` and ``("a", "bc")`` give different keys. Text is
    encoded as UTF-8.

    Args:
        root: a secret of at least 16 bytes. Use 32 random bytes for 256-bit security.
        info: the purpose of the key, from general to specific. Public.
        length: the length of the key in bytes, 1 to 8160.

    Raises:
        ValueError: ``root`` is too short.
    """
    if len(root) < 16:
        raise ValueError(f"The root secret must have at least 16 bytes, not {len(root)}.")
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=length_prefixed(*info)).derive(root)


def expand_key_and_commitment(key: bytes, *info: str | bytes) -> tuple[bytes, bytes]:
    """An encryption key and a commitment to it (32 bytes each), by HKDF-Expand with SHA-512.

    Two keys with the same commitment would be a collision of HMAC-SHA-512 truncated to 256 bits. An AEAD alone does
    not commit to its key.
    """
    both = HKDFExpand(algorithm=hashes.SHA512(), length=2 * KEY_BYTES, info=length_prefixed(*info)).derive(key)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def length_prefixed(*parts: str | bytes) -> bytes:
    """Concatenate the parts, each prefixed with its length in four bytes (big-endian)."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


_FORMAT = b"\x01"
_SALT_BYTES = 24
_COMMITMENT_END = 1 + _SALT_BYTES + KEY_BYTES
_TAG_BYTES = 16
_LABEL = "gatewright secret box 1"
_NONCE = bytes(12)  # each message has its own key


class SecretBox:
    """Key-committing authenticated encryption of bytes with AES-256-GCM.

    Every message gets its own key, derived from ``key`` and 24 random bytes, so there is no practical limit to the
    number of messages. The sealed form is ``01 ‖ salt (24) ‖ commitment (32) ‖ ciphertext ‖ tag (16)``: 73 bytes more
    than the plaintext.

    Args:
        key: 32 random or derived bytes.

    Raises:
        ValueError: ``key`` is not 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"The key of a secret box must have {KEY_BYTES} bytes, not {len(key)}.")
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "SecretBox()"

    def __reduce__(self) -> str:
        raise TypeError("A secret box cannot be pickled: the pickle would contain its key in plaintext.")

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Encrypt. ``aad`` is authenticated but not included, and must be passed to :meth:`open`, too."""
        salt = os.urandom(_SALT_BYTES)
        message_key, commitment = expand_key_and_commitment(self._key, _LABEL, salt)
        return b"".join((_FORMAT, salt, commitment, AESGCM(message_key).encrypt(_NONCE, plaintext, aad)))

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Decrypt the result of :meth:`seal`.

        Raises:
            DecryptionError: the key or ``aad`` is wrong, or the message was changed.
        """
        if len(sealed) < _COMMITMENT_END + _TAG_BYTES or sealed[:1] != _FORMAT:
            raise decryption_failed()
        salt, stated = sealed[1 : 1 + _SALT_BYTES], sealed[1 + _SALT_BYTES : _COMMITMENT_END]
        message_key, commitment = expand_key_and_commitment(self._key, _LABEL, salt)
        if not hmac.compare_digest(stated, commitment):
            raise decryption_failed()
        try:
            return AESGCM(message_key).decrypt(_NONCE, sealed[_COMMITMENT_END:], aad)
        except InvalidTag:
            raise decryption_failed() from None
