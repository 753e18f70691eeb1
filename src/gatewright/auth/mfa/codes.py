"""Backup codes: ten of eight letters and digits, each for one sign-in without the phone."""

from __future__ import annotations

import secrets

from gatewright.auth.keyed import KeyedHash
from gatewright.auth.mfa.totp import DASHES

CODE_COUNT = 10
CODE_LENGTH = 8
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that are not taken for one another."""

_DASHES = str.maketrans(dict.fromkeys(DASHES))


def new_code() -> str:
    """Eight letters and digits, some of each: 39 bits, guessed at most a handful of times by its door."""
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        if any(c.isdigit() for c in code) and any(c.isalpha() for c in code):
            return code


def new_backup_codes() -> list[str]:
    """Ten different codes."""
    codes: set[str] = set()
    while len(codes) < CODE_COUNT:
        codes.add(new_code())
    return sorted(codes, key=lambda _: secrets.randbits(32))


def normalise_backup_code(code: object) -> str | None:
    """The code as it was made, from what a person typed (case, spaces, hyphens); None for what is no code."""
    if not isinstance(code, str) or len(code) > 2 * CODE_LENGTH + 4:
        return None
    plain = "".join(code.split()).translate(_DASHES).upper()
    return plain if len(plain) == CODE_LENGTH and plain.isascii() and plain.isalnum() else None


def hash_code(keyed: KeyedHash, account_id: str, code: str) -> str:
    """What the store keeps of a code."""
    return keyed.of("backup-code", account_id, code)
