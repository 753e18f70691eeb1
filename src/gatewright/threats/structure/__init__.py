"""Structure checks: whether the text that a rule matched really has the form of an attack.

An expression in linear time is the gate. Where it matches, and only there, a check reads the text as the attacked
language would: as shell words, markup, a path, a filter. Each check is one function of the text, linear in its
length and bounded in what it looks at, and quick to tell prose. Gates hold the words that their checks look for, so
that of a hundred plain texts three reach one, and of JSON bodies and code one in six.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gatewright.threats.structure.markup import runs_expression, runs_script
from gatewright.threats.structure.paths import breaks_filter, leaves_its_root
from gatewright.threats.structure.shell import runs_command
from gatewright.threats.structure.sql import has_operator_key, is_injected

CHECKS: Mapping[str, Callable[[str], bool]] = {
    "html": runs_script,
    "ldap": breaks_filter,
    "operators": has_operator_key,
    "paths": leaves_its_root,
    "shell": runs_command,
    "sql": is_injected,
    "template": runs_expression,
}
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
