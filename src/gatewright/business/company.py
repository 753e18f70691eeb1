"""Company names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from gatewright.business.confusables import mixes_scripts, skeleton
from gatewright.business.outcome import Outcome

MAX_NAME_LENGTH = 200
"""Characters in a company name."""


class KnownNames:
    """Names that are taken, found again by how they look.

    Args:
        names: the companies that are known.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_skeleton: dict[str, str] = {}
        for name in names:
            self.add(name)

    def __len__(self) -> int:
        return len(self._by_skeleton)

    def add(self, name: str) -> None:
        """Know ``name`` from now on; the first of several that look alike stays."""
        key = skeleton(name[:MAX_NAME_LENGTH])
        if key:
            self._by_skeleton.setdefault(key, _plain(name))

    def look_alike(self, name: str) -> str | None:
        """A known name that looks like ``name`` and is written otherwise."""
        known = self._by_skeleton.get(skeleton(name[:MAX_NAME_LENGTH]))
        return known if known is not None and known.casefold() != _plain(name).casefold() else None


def check_company_name(name: str, value: str, *, known: KnownNames | None = None) -> Outcome:
    """Check a company's name: something to read, no control or invisible characters, no look-alike of another.

    A look-alike is a warning: companies do share names, and only a person can tell.
    """
    plain = _plain(value)
    if any(unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") for character in plain):
        return Outcome.refused(
            name, "INVALID_COMPANY_NAME", "A company name has no control or invisible characters; retype it."
        )
    if not any(character.isalnum() for character in plain):
        return Outcome.refused(name, "INVALID_COMPANY_NAME", "A company name has at least one letter or digit.")
    outcome = Outcome(value=plain)
    if any(mixes_scripts(word) for word in plain.split()) or (known and known.look_alike(plain)):
        outcome.warn(
            name,
            "LOOKALIKE_COMPANY_NAME",
            "The name looks like another one but is written differently; check that nobody is imitated.",
        )
    return outcome


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split(" ")).strip()
