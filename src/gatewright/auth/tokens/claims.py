"""Claims of access tokens, and their validation (RFC 7519)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from gatewright.auth.tokens.jws import invalid
from gatewright.clock import CLOCK_SKEW
from gatewright.errors import FieldError, TokenExpiredError, ValidationError
from gatewright.references import is_unicode

MAX_TEXT = 512
"""Maximum length of a claim, so that a token always fits in a header."""

MAX_ROLES = 32

_LARGEST_TIME = 253_402_300_799
"""The last second of the year 9999, which is the largest datetime."""


def subject_claims(data: Any) -> dict[str, Any]:
    """``sub`` and the claims about a manufacturer, from a mapping or an object with these attributes.

    ``manufacturer_id`` is required. ``sub`` is the ``account_id``, or else the ``manufacturer_id``. ``roles`` default
    to the role of the tier.

    Raises:
        ValidationError: ``manufacturer_id`` is missing, or a value is too long or not text.
    """
    manufacturer_id = text(data, "manufacturer_id")
    if not manufacturer_id:
        raise _bad("manufacturer_id", "EMPTY_REQUIRED_FIELD", "manufacturer_id is required: a non-empty string.")
    tier = text(data, "tier") or "free"
    return {
        "sub": text(data, "account_id") or manufacturer_id,
        "manufacturer_id": manufacturer_id,
        "company_name": text(data, "company_name") or "",
        "email": text(data, "email") or "",
        "tier": tier,
        "roles": role_names(read(data, "roles")) or [f"manufacturer_{tier}"],
    }


def read(data: Any, name: str) -> Any:
    """The value of ``name`` in a mapping or object. None if it has none."""
    return data.get(name) if isinstance(data, Mapping) else getattr(data, name, None)


def role_names(roles: Any) -> list[str]:
    """Role names as strings. Enum members become their values."""
    if roles is None:
        return []
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise _bad("roles", "INVALID_ROLES", "roles must be a list of role names.")
    names = [str(getattr(role, "value", role)) for role in roles]
    if len(names) > MAX_ROLES or any(len(name) > MAX_TEXT or not is_unicode(name) for name in names):
        raise _bad("roles", "INVALID_ROLES", f"roles: at most {MAX_ROLES} names of up to {MAX_TEXT} characters.")
    return names


def time_claims(now: float, lifetime: timedelta) -> dict[str, float]:
    """``iat``, ``nbf`` and ``exp`` as integers. ``exp`` has a fraction if the lifetime has one."""
    issued = int(now)
    exact = lifetime.total_seconds()
    expires = issued + int(exact) if lifetime.microseconds == 0 else round(now + exact, 6)
    if not 0 < expires <= _LARGEST_TIME:
        raise _bad("expires_in", "INVALID_LIFETIME", "expires_in must end between 1970 and the year 9999.")
    return {"iat": issued, "nbf": issued, "exp": expires}


def new_token_id(milliseconds: int) -> str:
    """A ``jti`` that begins with its issue time, so that all tokens issued until now can be revoked at once."""
    return f"{milliseconds:012x}{secrets.token_hex(10)}"


def issued_milliseconds(claims: Mapping[str, Any]) -> int:
    """The issue time of a token of this service in milliseconds, from its ``jti``."""
    return int(claims["jti"][:12], 16)


def check_claims(claims: Mapping[str, Any], *, issuer: str, audience: str, now: float) -> None:
    """Check the claims of a token of this service.

    ``nbf`` and ``iat`` may be up to ``CLOCK_SKEW`` seconds in the future. ``exp`` has no leeway.

    Raises:
        TokenExpiredError: ``exp`` has passed.
        InvalidTokenError: another claim is missing or wrong.
    """
    for name in ("iat", "nbf", "exp"):
        value = claims.get(name)
        if (type(value) is not int and type(value) is not float) or not 0 < value <= _LARGEST_TIME:
            raise invalid(f"{name} is not a valid time")
    for name in ("sub", "manufacturer_id", "jti"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise invalid(f"{name} is missing")
    if claims.get("iss") != issuer:
        raise invalid("wrong issuer")
    if claims.get("aud") != audience:
        raise invalid("wrong audience")
    if not isinstance(claims.get("sid", ""), str):
        raise invalid("sid is not a string")
    try:
        issued_milliseconds(claims)
    except ValueError:
        raise invalid("unknown jti format") from None
    if now >= claims["exp"]:
        raise expired()
    if max(claims["nbf"], claims["iat"]) > now + CLOCK_SKEW:
        raise invalid("not valid yet")


def expired() -> TokenExpiredError:
    """The error for an expired token."""
    return TokenExpiredError("The token has expired.")


def text(data: Any, name: str) -> str | None:
    """The value of ``name`` in a mapping or object as text. None if it has none. Enum members become their values.

    Raises:
        ValidationError: it is not text, is too long, or contains lone surrogates.
    """
    value = read(data, name)
    if value is None:
        return None
    value = getattr(value, "value", value)
    if not isinstance(value, str) or len(value) > MAX_TEXT or not is_unicode(value):
        raise _bad(name, "INVALID_TEXT", f"{name} must be text of at most {MAX_TEXT} characters.")
    return str(value)


def _bad(field: str, error_type: str, message: str) -> ValidationError:
    return ValidationError(message, errors=[FieldError(field=field, error_type=error_type, message=message)])
