"""Time-based one-time passwords (RFC 6238, RFC 4226): six digits, 30 seconds, SHA-1."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pyotp

from gatewright.records import Record

STEP_SECONDS = 30
DIGITS = 6
TOLERANCE = 1
"""Steps before and after now that are accepted."""

MAX_TYPED = 32
"""Maximum length of a typed code."""

DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
"""What people and apps put between groups of digits: hyphens, dashes, the minus sign, the full-width hyphen."""

_TYPED = str.maketrans(
    {**dict.fromkeys(DASHES), **{chr(0xFF10 + digit): str(digit) for digit in range(10)}},
)

HINT_STEPS = 20
"""Steps before and after now within which a code shows that the phone's clock is off."""


class TotpMatch(Record, frozen=True, kw_only=True):
    """The result of a comparison.

    Attributes:
        step: the time step of a valid code.
        replayed: whether the code was valid but its step was already used.
        drift: the steps by which the phone's clock is off, if the code is valid for a time too far from now.
    """

    step: int | None = None
    replayed: bool = False
    drift: int | None = None


def new_totp_secret() -> str:
    """160 random bits in Base32 (RFC 4226 §4 R6)."""
    return pyotp.random_base32(32)


def step_of(timestamp: float) -> int:
    """The time step of a Unix timestamp."""
    return int(timestamp // STEP_SECONDS)


def code_of(secret: str, step: int, *, digits: int = DIGITS, digest: Callable[..., Any] = hashlib.sha1) -> str:
    """The code of a time step (RFC 4226 §5.3). Most apps support only SHA-1, which is still secure in HMAC."""
    return pyotp.HOTP(secret, digits=digits, digest=digest).at(step)


def normalize_totp(code: object) -> str | None:
    """The six digits of a typed or pasted code. None for anything else, which does not count as a guess.

    Whitespace and dashes are removed, and full-width digits are converted. Digits of other scripts are rejected, since
    no authenticator app shows them, as are codes of more than ``MAX_TYPED`` characters.
    """
    if not isinstance(code, str) or len(code) > MAX_TYPED:
        return None
    normalized = "".join(code.split()).translate(_TYPED)
    valid = len(normalized) == DIGITS and normalized.isascii() and normalized.isdecimal()
    return normalized if valid else None


def match_totp(secret: str, code: str, *, now: float, last_step: int) -> TotpMatch:
    """Compare a code with those of the steps around now, in constant time.

    A step at or below ``last_step`` is a replay. The store has the final say on whether a step is unused, in the
    operation that uses it.
    """
    current = step_of(now)
    fresh, replayed, drift = None, False, None
    for offset in sorted(range(-HINT_STEPS, HINT_STEPS + 1), key=abs, reverse=True):  # nearest last: it decides
        step = current + offset
        if step < 0 or not hmac.compare_digest(code_of(secret, step).encode(), code.encode()):
            continue
        if abs(offset) > TOLERANCE:
            drift = offset
        elif step > last_step:
            fresh = step
        else:
            replayed = True
    return TotpMatch(step=fresh, replayed=replayed, drift=drift)


def provisioning_uri(secret: str, *, account: str, issuer: str) -> str:
    """The ``otpauth://`` URI for authenticator apps, with issuer."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_SECONDS).provisioning_uri(name=account, issuer_name=issuer)


def qr_code(uri: str) -> str:
    """The URI as a QR code: an SVG in a ``data:`` URI."""
    import segno  # rarely used, and slow to import

    return str(segno.make(uri, error="m", micro=False).svg_data_uri(scale=4, border=4))
