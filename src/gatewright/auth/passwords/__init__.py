"""Passwords: hashing in a bounded pool, and the policy of NIST SP 800-63B."""

from gatewright.auth.passwords.hashing import (
    MAX_PASSWORD_LENGTH,
    Argon2Parameters,
    PasswordCheck,
    PasswordHashing,
    normalize_password,
)
from gatewright.auth.passwords.policy import PasswordPolicy, minimum_length

__all__ = [
    "MAX_PASSWORD_LENGTH",
    "Argon2Parameters",
    "PasswordCheck",
    "PasswordHashing",
    "PasswordPolicy",
    "minimum_length",
    "normalize_password",
]
