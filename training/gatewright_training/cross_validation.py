"""Leave-source-out folds: every row is judged by a model that saw no row of its source, nor of a sister source."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gatewright_training.corpus import GRAMMAR, Row

FOLDS = 10

_ATTACK_FOLDS = {
    "libinjection": 0,
    "httpparams": 1,
    "payloadsallthethings": 2,
    "payloadbox": 3,
    "fuzzdb": 4,
    "synthetic-attacks": 5,
    "blns": 6,
    "cr0hn-nosqli": 6,
}
"""Attack sources each have a fold of their own, but for the two smallest."""

NOWHERE = -1


def family(source: str) -> str:
    """Sources of one project, which must be in one fold: ``hard:git-docs`` and ``hard:git-shell`` are both ``git``."""
    return source.removeprefix("hard:").split(":")[0].split("-")[0]


def fold_of(source: str) -> int:
    """The fold of a source; NOWHERE for what is only ever trained on."""
    if source == GRAMMAR:
        return NOWHERE
    if source in _ATTACK_FOLDS:
        return _ATTACK_FOLDS[source]
    return hashlib.sha256(family(source).encode()).digest()[0] % FOLDS


def folds_of(rows: Sequence[Row]) -> list[int]:
    """The fold of each row."""
    return [fold_of(row.source) for row in rows]


def seen_without(fold: int, rows: Sequence[Row]) -> list[bool]:
    """Which rows a model may see that is to judge ``fold``: no row of its sources, none with their text around it."""
    return [fold_of(row.source) != fold and (not row.amid or fold_of(row.amid) != fold) for row in rows]


def kind_of(row: Row) -> str:
    """``attack``, or what sort of harmless value: ``plain``, ``json`` or ``hard`` (code, and prose about code)."""
    if row.label:
        return "attack"
    if row.source.startswith("hard:"):
        return "hard"
    return "plain" if isinstance(row.payload, str) else "json"
