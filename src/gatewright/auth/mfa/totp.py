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
"""Steps either side of now that are accepted."""

MAX_TYPED = 32
"""Characters of a typed code that are read at all."""

DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
"""What people and apps put between groups of digits: hyphens, dashes, the minus sign, the full-width hyphen."""

_TYPED = str.maketrans(
    {**dict.fromkeys(DASHES), **{chr(0xFF10 + digit): str(digit) for digit in range(10)}},
)

HINT_STEPS = 20
"""Steps either side of now within which a code shows that the clock of the phone is wrong."""


class TotpMatch(Record, frozen=True, kw_only=True):
    """What a code is: ``step`` when it is to be accepted, ``replayed`` when it was genuine but came before.

    ``drift`` is by how many steps the clock of the app is off when the code is of a time too far away.
    """

    step: int | None = None
    replayed: bool = False
    drift: int | None = None


def new_totp_secret() -> str:
    """160 random bits in Base32 (RFC 4226 §4 R6)."""
    return pyotp.random_base32(32)


def step_of(timestamp: float) -> int:
    """The time step that a moment (seconds since the epoch) falls into."""
    return int(timestamp // STEP_SECONDS)


def code_of(secret: str, step: int, *, digits: int = DIGITS, digest: Callable[..., Any] = hashlib.sha1) -> str:
    """The code of a time step (RFC 4226 §5.3); apps know no other digest than SHA-1, which HMAC keeps safe."""
    return pyotp.HOTP(secret, digits=digits, digest=digest).at(step)


def normalize_totp(code: object) -> str | None:
    """The six digits of a code as people type or paste it; None for anything else, which is not a guess.

    Whitespace and dashes between the digits are dropped and full-width digits are read as what they are. Digits
    of other scripts are refused: no authenticator app shows them. At most ``MAX_TYPED`` characters are read.
    """
    if not isinstance(code, str) or len(code) > MAX_TYPED:
        return None
    plain = "".join(code.split()).translate(_TYPED)
    return plain if len(plain) == DIGITS and plain.isascii() and plain.isdecimal() else None


def match_totp(secret: str, code: str, *, now: float, last_step: int) -> TotpMatch:
    """Compare a code with those of the steps around now, in constant time.

    A step at or below ``last_step`` is a replay. That the step is still free is for the store to say, in the
    same operation that takes it.
    """
    current = step_of(now)
    fresh, replayed, drift = None, False, None
    for offset in sorted(range(-HINT_STEPS, HINT_STEPS + 1), key=abs, reverse=True):  # the nearest has the last word
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
    import segno  # wanted once in an account's life, and slow to load

    return str(segno.make(uri, error="m", micro=False).svg_data_uri(scale=4, border=4))
