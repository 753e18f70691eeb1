"""An attack that is padded, re-encoded or written otherwise is still found."""

from __future__ import annotations

import random

import pytest

from gatewright.threats import DetectionEngine, load_reference

from .mutations import ANYWHERE, OF_SQL, Mutation

LOST_AT_MOST = 0.03
ROWS = 400


def _attacks(*categories: str) -> list[str]:
    rows = [
        row.payload
        for row in load_reference()
        if row.label and isinstance(row.payload, str) and (not categories or row.category in categories)
    ]
    random.Random(5).shuffle(rows)
    return rows[:ROWS]


def _lost(engine: DetectionEngine, attacks: list[str], mutation: Mutation) -> float:
    choose = random.Random(11)
    before = sum(engine.inspect(text).threat_detected for text in attacks)
    after = sum(engine.inspect(mutation(text, choose)).threat_detected for text in attacks)
    return (before - after) / len(attacks)


@pytest.mark.parametrize("mutation", ANYWHERE, ids=lambda mutation: mutation.__name__)
def test_mutations_lose_at_most_three_points(engine: DetectionEngine, mutation: Mutation) -> None:
    """Over attacks of all categories."""
    assert _lost(engine, _attacks(), mutation) <= LOST_AT_MOST


@pytest.mark.parametrize("mutation", OF_SQL, ids=lambda mutation: mutation.__name__)
def test_sql_in_another_dress_is_still_found(engine: DetectionEngine, mutation: Mutation) -> None:
    """Comments for blanks, and case by chance."""
    assert _lost(engine, _attacks("sqli"), mutation) <= LOST_AT_MOST
