"""Format of API keys, and the permissions they may have.

The prefix and the checksum let secret scanners find a leaked key, and let us refuse a mistyped one without a
look at the store.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple, Protocol

from gatewright.auth.account_directory import Person
from gatewright.errors import FieldError, InsufficientPermissionsError, ValidationError
from gatewright.storage.credentials import StoredApiKey

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


API_ACCESS = "api_access"
"""The permission that is needed to make and use keys, where the policy has one of this name."""

MAX_PERMISSIONS = 64


class PermissionCeiling(Protocol):
    """What the person who makes a key may do."""

    async def permissions_of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        """The permissions now: the policy's under the tier, and those of our own calls, as the role has them; None
        if unknown (any known permission may then be given)."""
        ...


class Left(NamedTuple):
    """What is left of a key: its permissions, and whether the person behind it may use keys at all."""

    permissions: list[str]
    usable: bool


class KeyPermissions:
    """Holds keys below the people they belong to.

    Args:
        known: names that a key may have.
        ceiling: keys have no more than this, when they are made and each time they are used; None: no ceiling.
        strict: whether ``api_access`` is needed, as in a foundation.
    """

    def __init__(self, known: Collection[str], ceiling: PermissionCeiling | None, *, strict: bool) -> None:
        self._known = known
        self._ceiling = ceiling
        self._needed = API_ACCESS if strict and API_ACCESS in known else None

    def checked(self, permissions: Iterable[object]) -> tuple[str, ...]:
        """The names of permissions in any form, sorted. Raises ValidationError."""
        if isinstance(permissions, str | bytes):
            raise ValidationError("permissions must be a list of names.", code="INVALID_PERMISSIONS")
        names = {str(p.value) if isinstance(p, Enum) else str(p) for p in permissions}
        if not 0 < len(names) <= MAX_PERMISSIONS:
            raise ValidationError(f"A key must have 1 to {MAX_PERMISSIONS} permissions.", code="INVALID_PERMISSIONS")
        if unknown := sorted(name for name in names if name not in self._known):
            errors = [
                FieldError(
                    field="permissions",
                    error_type="UNKNOWN_PERMISSION",
                    message=f"An API key cannot have the permission {name[:64]!r}.",
                )
                for name in unknown
            ]
            raise ValidationError("Unknown permissions.", errors=errors, code="UNKNOWN_PERMISSION")
        return tuple(sorted(names))

    async def require(self, person: Person, permissions: Iterable[str]) -> None:
        """Raise InsufficientPermissionsError where a key of these permissions could do more than the person."""
        ceiling = await self._of(person.manufacturer_id, person.account_id)
        if ceiling is None:
            return
        if self._needed is not None and self._needed not in ceiling:
            raise no_api_access(person.manufacturer_id)
        if above := sorted(set(permissions) - ceiling):
            raise InsufficientPermissionsError(
                f"A key cannot have more permissions than its owner, who lacks {', '.join(above)}.",
                context={"manufacturer_id": person.manufacturer_id, "permission": above[0]},
            )

    async def left_of(self, stored: StoredApiKey) -> Left:
        """What the person behind a key leaves of it now."""
        ceiling = await self._of(stored.manufacturer_id, stored.account_id)
        if ceiling is None:
            return Left(list(stored.permissions), usable=True)
        usable = self._needed is None or self._needed in ceiling
        return Left([name for name in stored.permissions if name in ceiling], usable)

    async def _of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        return None if self._ceiling is None else await self._ceiling.permissions_of(manufacturer_id, account_id)


def no_api_access(manufacturer_id: str) -> InsufficientPermissionsError:
    """The error of a key whose person has no ``api_access``."""
    return InsufficientPermissionsError(
        "API keys require the permission api_access, from the tier and from the role of their owner.",
        context={"manufacturer_id": manufacturer_id, "permission": API_ACCESS},
    )
