"""Company names and business licenses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from gatewright.business.confusables import mixes_scripts, skeleton
from gatewright.business.results import FieldResult

MAX_NAME_LENGTH = 200
"""The maximum number of characters in a company name."""

_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that are not categorized as invisible, but are."""
_LICENSE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_DIGITS = frozenset("0123456789")
_STACKED_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{5}")
"""More marks on one letter than any language uses (Unicode TR 36 §2.10.5). They cover surrounding text."""


class KnownNames:
    """Known company names, found by their appearance.

    Args:
        names: the known names.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_skeleton: dict[str, str] = {}
        for name in names:
            self.add(name)

    def __len__(self) -> int:
        return len(self._by_skeleton)

    def add(self, name: str) -> None:
        """Add a name. The first of several look-alikes is kept."""
        key = skeleton(name[:MAX_NAME_LENGTH])
        if key:
            self._by_skeleton.setdefault(key, _plain(name))

    def look_alike(self, name: str) -> str | None:
        """A known name that looks like ``name``, but is spelled differently."""
        known = self._by_skeleton.get(skeleton(name[:MAX_NAME_LENGTH]))
        return known if known is not None and known.casefold() != _plain(name).casefold() else None


def check_company_name(name: str, value: str, *, known: KnownNames | None = None) -> FieldResult:
    """Validate a company name: readable, without control or invisible characters, and not a look-alike.

    A look-alike is a warning, since companies may share names and only a person can decide.
    """
    plain = _plain(value)
    if _STACKED_MARKS.search(plain) or any(map(_is_invisible, plain)):
        return FieldResult.invalid(
            name,
            "INVALID_COMPANY_NAME",
            "A company name must not contain control, invisible or stacked combining characters. Retype it.",
        )
    if not any(character.isalnum() for character in plain):
        return FieldResult.invalid(
            name, "INVALID_COMPANY_NAME", "A company name must contain at least one letter or digit."
        )
    result = FieldResult(value=plain)
    if any(mixes_scripts(word) for word in plain.split()) or (known and known.look_alike(plain)):
        result.add_warning(
            name,
            "LOOKALIKE_COMPANY_NAME",
            "The name looks like that of another company. Check for impersonation.",
        )
    return result


def _is_invisible(character: str) -> bool:
    return character in _BLANKS or unicodedata.category(character) in _INVISIBLE_CATEGORIES


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split(" ")).strip()


def check_license(name: str, value: str) -> FieldResult:
    """Validate a license number: 6 to 20 capital letters, digits and hyphens, with at least four digits."""
    digits = sum(character in _DIGITS for character in value)
    if 6 <= len(value) <= 20 and digits >= 4 and all(character in _LICENSE_CHARACTERS for character in value):
        return FieldResult(value=value)
    return FieldResult.invalid(
        name,
        "INVALID_LICENSE_FORMAT",
        "A license number must have 6 to 20 capital letters, digits and hyphens, including at least four digits.",
    )
