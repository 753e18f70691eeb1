"""A secret box: authenticated encryption of one secret, with its key derivation and its one error."""

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
    """The error for every payload that does not open; which check refused it is never said."""
    return DecryptionError(MESSAGE)


KEY_BYTES = 32
"""Length of every symmetric key: 256 bits."""


def derive_key(root: bytes, *info: str | bytes, length: int = KEY_BYTES) -> bytes:
    """A key for one purpose, by HKDF-SHA256.

    The parts of ``info`` are joined with their lengths, so that ``("ab", "c")`` and ``("a", "bc")`` give
    different keys; text is UTF-8.

    Args:
        root: secret input of at least 16 bytes; 32 random bytes where security must be 256 bits.
        info: what the key is for, from the general to the particular; public.
        length: bytes wanted, 1 to 8160.

    Raises:
        ValueError: ``root`` is too short to be a key.
    """
    if len(root) < 16:
        raise ValueError("a root of fewer than 16 bytes is no key")
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=joined(*info)).derive(root)


def expand_key_and_commitment(key: bytes, *info: str | bytes) -> tuple[bytes, bytes]:
    """An encryption key and a commitment to it (32 bytes each), by HKDF-Expand with SHA-512.

    Both come out of one pseudo-random function of ``key``: finding two keys with one commitment means finding
    a collision of HMAC-SHA-512 cut to 256 bits. An AEAD alone promises nothing of the kind.
    """
    both = HKDFExpand(algorithm=hashes.SHA512(), length=2 * KEY_BYTES, info=joined(*info)).derive(key)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def joined(*parts: str | bytes) -> bytes:
    """The parts one after another, each after its length in four bytes (big-endian)."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


_FORMAT = b"\x01"
_SALT_BYTES = 24
_COMMITMENT_END = 1 + _SALT_BYTES + KEY_BYTES
_TAG_BYTES = 16
_LABEL = "gatewright secret box 1"
_NONCE = bytes(12)  # each message has a key of its own, which is used once


class SecretBox:
    """Authenticated encryption of bytes with AES-256-GCM; key-committing.

    Every message gets a key of its own, derived from ``key`` and 24 random bytes, so there is no limit on the
    number of messages that practice could reach. The sealed form is ``01 ‖ salt (24) ‖ commitment (32) ‖
    ciphertext ‖ tag (16)``: 73 bytes more than the plaintext.

    Args:
        key: 32 random (or derived) bytes.

    Raises:
        ValueError: ``key`` is not 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a secret box needs a key of 32 bytes")
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "SecretBox()"

    def __reduce__(self) -> str:
        raise TypeError("a secret box is not pickled: that would write its key in plain text")

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Encrypt; ``aad`` is what :meth:`open` must be given as well, and is not part of the result."""
        salt = os.urandom(_SALT_BYTES)
        message_key, commitment = expand_key_and_commitment(self._key, _LABEL, salt)
        return b"".join((_FORMAT, salt, commitment, AESGCM(message_key).encrypt(_NONCE, plaintext, aad)))

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """The plaintext of :meth:`seal`.

        Raises:
            DecryptionError: another key, other ``aad``, or a changed bit.
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
