"""Dilute: short attacks in the middle of harmless text, as a window of a long field shows them.

A window that holds an attack holds what is around it too. Without such rows a model learns that prose beside
an attack makes it harmless, and a paragraph before it would hide it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from gatewright.threats.matching import Matcher
from gatewright.threats.model.features import WINDOW
from gatewright.threats.rules import RuleSet
from gatewright_training.corpus import Row

LONGEST_ATTACK = 72
SHARE = 0.5
"""Of the attacks of one category and source, so many are diluted; few rows are all diluted."""

ALL_BELOW = 400


def diluted_rows(rows: Sequence[Row], rules: RuleSet, matcher: Matcher, *, seed: int) -> list[Row]:
    """Attacks that a strong rule still knows among pieces of a harmless row, the same for the same seed.

    Each says in ``amid`` whose text is around it: a model that is to judge that source must not see it either.
    """
    choose = random.Random(seed)  # noqa: S311 - data for training, no secret
    strong = {number for number, rule in enumerate(rules.rules) if rule.tier != "weak"}
    prose = [row for row in rows if not row.label and _is_prose(row)]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.label and isinstance(row.payload, str) and len(row.payload) <= LONGEST_ATTACK:
            groups.setdefault((row.category, row.source), []).append(row)
    found: list[Row] = []
    for key in sorted(groups):
        group = groups[key]
        wanted = len(group) if len(group) <= ALL_BELOW else max(ALL_BELOW, int(SHARE * len(group)))
        for row in choose.sample(group, wanted) if prose else ():
            around = choose.choice(prose)
            text = _amid(row.payload, around.payload, choose)
            if strong & matcher.match(text):
                found.append(Row(payload=text, label=1, category=row.category, source=row.source, amid=around.source))
    return found


def _is_prose(row: Row) -> bool:
    return isinstance(row.payload, str) and len(row.payload) > WINDOW and not row.source.startswith("hard:")


def _amid(attack: str, prose: str, choose: random.Random) -> str:
    room = max(0, WINDOW - len(attack.encode("utf-8", "replace")))
    before = choose.choice((0, room, choose.randint(0, room)))
    return _piece(before, prose, choose) + attack + " " + _piece(room - before, prose, choose)


def _piece(length: int, prose: str, choose: random.Random) -> str:
    begin = choose.randint(0, max(0, len(prose) - length))
    return prose[begin : begin + length]
