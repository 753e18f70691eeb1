"""The format of API keys: ``gw_<id>_<secret><checksum>``.

The prefix and the checksum let secret scanners find a leaked key, and let us refuse a mistyped one without a
look at the store.
"""

from __future__ import annotations

import secrets
import zlib

PREFIX = "gw"
ID_LENGTH = 16
SECRET_LENGTH = 40
CHECKSUM_LENGTH = 6

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_key() -> tuple[str, str, str]:
    """A new id (95 random bits), secret (238 bits), and the key that is made of them."""
    key_id, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
    return key_id, secret, f"{PREFIX}_{key_id}_{secret}{checksum(key_id, secret)}"


def checksum(key_id: str, secret: str) -> str:
    """CRC-32 of id and secret in six base-62 digits: finds typing errors, keeps no secret."""
    number, digits = zlib.crc32(f"{key_id}_{secret}".encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def split_key(key: object) -> tuple[str, str] | None:
    """Id and secret of a well-formed key whose checksum agrees; None for anything else."""
    length = len(PREFIX) + 2 + ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH
    if not isinstance(key, str) or len(key) != length or not key.isascii():
        return None
    prefix, _, rest = key.partition("_")
    key_id, _, tail = rest.partition("_")
    secret, check = tail[:SECRET_LENGTH], tail[SECRET_LENGTH:]
    if prefix != PREFIX or len(key_id) != ID_LENGTH or len(check) != CHECKSUM_LENGTH:
        return None
    return (key_id, secret) if secrets.compare_digest(checksum(key_id, secret), check) else None


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
