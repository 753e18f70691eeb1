"""SecretBox: seal and open bytes under one key. The small tool below the envelopes, and for keys at rest."""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.encryption.derivation import KEY_BYTES, expand_key_and_commitment
from gatewright.encryption.failure import decryption_failed

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
        raise TypeError("a secret box is not pickled: that would write its key in clear")

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
