"""Structure checks: whether what a rule's expression found really has the form of an attack.

An expression in linear time is the gate: it costs harmless text nothing. Where it matches, and only there, a check
reads the text as the attacked language would: as shell words, markup, a path, a filter. Each check is one function
of the text, linear in its length and bounded in what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

CHECKS: Mapping[str, Callable[[str], bool]] = {}
"""By the name that a rule's ``confirm`` gives."""


class Confirmation:
    """Drops the hits that their checks do not confirm.

    Args:
        names: of each rule in its order, the name of its check; empty for none.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._checks = {number: CHECKS[name] for number, name in enumerate(names) if name}
        self._asked = frozenset(self._checks)

    def __call__(self, found: set[int], text: str) -> set[int]:
        """``found`` without what is not confirmed; checks that several rules share run once."""
        asked = found & self._asked if found else None
        if not asked:
            return found
        answers: dict[Callable[[str], bool], bool] = {}
        for number in asked:
            check = self._checks[number]
            if check not in answers:
                answers[check] = check(text)
            if not answers[check]:
                found.discard(number)
        return found
