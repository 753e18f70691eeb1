"""Business licences."""

from __future__ import annotations

from gatewright.business.outcome import Outcome

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_DIGITS = frozenset("0123456789")


def check_licence(name: str, value: str) -> Outcome:
    """Check a licence number: 6 to 20 capital letters, digits and hyphens, at least four of them digits."""
    digits = sum(character in _DIGITS for character in value)
    if 6 <= len(value) <= 20 and digits >= 4 and all(character in _ALLOWED for character in value):
        return Outcome(value=value)
    return Outcome.refused(
        name,
        "INVALID_LICENSE_FORMAT",
        "A licence number has 6 to 20 capital letters, digits and hyphens, at least four of them digits.",
    )
