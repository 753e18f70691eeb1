"""Key derivation: HKDF (RFC 5869) with inputs that cannot be confused with one another."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

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

    Both come out of one pseudo-random function of ``key``: whoever finds two keys with one commitment has found
    a collision of HMAC-SHA-512 cut to 256 bits. An AEAD alone promises nothing of the kind.
    """
    both = HKDFExpand(algorithm=hashes.SHA512(), length=2 * KEY_BYTES, info=joined(*info)).derive(key)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def joined(*parts: str | bytes) -> bytes:
    """The parts one after another, each after its length in four bytes (big-endian)."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
