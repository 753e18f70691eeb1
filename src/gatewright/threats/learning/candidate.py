"""One attempt to learn: fit with less and less freedom until the guard does not object, or give up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from gatewright.storage.feedback import StoredFeedback
from gatewright.threats.learning.detector import Learnable
from gatewright.threats.learning.fit import Caps, Correction, Encoded, fit_correction
from gatewright.threats.learning.guard import Verdicts, judge, objection, rates, shadow_objection
from gatewright.threats.learning.intake import MAX_TEXTS
from gatewright.threats.learning.reference import ReferenceRow, load_reference
from gatewright.threats.walk import Walk

LADDER = (
    Caps(replay=0.08),
    Caps(length=30.0, replay=0.2),
    Caps(length=25.0, replay=0.5),
    Caps(length=20.0, replay=1.2),
    Caps(length=15.0, replay=4.0),
)
"""The caps that are tried, the loosest first."""

TEXTS_OF_A_ROW = 3
"""Texts of a harmless row that the replay has; the others look even less like an attack."""

NOTHING = Correction(np.zeros(0, np.int64), np.zeros(0, np.float32))


class Attempt(NamedTuple):
    """What came of it; ``objection`` says why it is refused and is empty when it is accepted."""

    correction: Correction
    objection: str
    metrics: dict[str, float]


def attempt(
    current: Learnable,
    statements: Sequence[StoredFeedback],
    traffic: Iterable[Any] = (),
    reference: Sequence[ReferenceRow] | None = None,
) -> Attempt:
    """Fit a correction to the base of ``current`` and have it judged. Slow: seconds; not for the event loop.

    Args:
        current: the detector in use.
        statements: what to learn from.
        traffic: recent values to try the candidate on.
        reference: replay and guard rows; those that ship with the package when missing.
    """
    rows = load_reference() if reference is None else reference
    guard = [row for row in rows if row.part == "guard"]
    replay = [row for row in rows if row.part == "replay"]
    base = current.with_correction(None)
    trial = _Trial(current, base, guard, judge(base, guard), tuple(statements), tuple(traffic))
    said = [base.encode(statement.text) for statement in statements]
    labels = [statement.is_threat for statement in statements]
    known, known_labels = _encode_replay(base, replay)
    result = Attempt(NOTHING, "There is nothing to learn from: no statement counts.", {})
    for caps in LADDER if statements else ():
        result = trial.judge(fit_correction(said, labels, known, known_labels, caps=caps))
        if not result.objection:
            break
    return result


def _encode_replay(base: Learnable, rows: Sequence[ReferenceRow]) -> tuple[list[Encoded], list[bool]]:
    """The texts of the rows as the detector sees them, one by one: of each row those that look most like an attack.

    What makes a row an attack is in its worst text; a harmless row is harmless in all of them.
    """
    known: list[Encoded] = []
    labels: list[bool] = []
    seen: set[str] = set()
    for row in rows:
        texts = {found.text for found in islice(Walk(row.payload), MAX_TEXTS)} - seen
        seen |= texts
        encoded = sorted(map(base.encode, sorted(texts)), key=lambda text: -text.margin)
        kept = encoded[: 1 if row.label else TEXTS_OF_A_ROW]
        known.extend(kept)
        labels.extend([bool(row.label)] * len(kept))
    return known, labels


class _Trial(NamedTuple):
    """What a candidate is measured against."""

    current: Learnable
    base: Learnable
    guard: list[ReferenceRow]
    before: Verdicts
    statements: tuple[StoredFeedback, ...]
    traffic: tuple[Any, ...]

    def judge(self, correction: Correction) -> Attempt:
        candidate = self.base.with_correction(correction)
        after = judge(candidate, self.guard)
        told = _agreement(candidate, self.statements)
        told_before = _agreement(self.base, self.statements)
        shadow, seen = shadow_objection(self.current, candidate, self.traffic)
        why_not = objection(self.guard, self.before, after) or shadow
        if not why_not and told <= told_before and told < len(self.statements):
            why_not = "it judges no more of the statements as told than the base model does"
        metrics = {
            "statements": float(len(self.statements)),
            "statements_as_told": float(told),
            "statements_as_told_by_base": float(told_before),
            "correction_length": round(float(np.linalg.norm(correction.values)), 4),
            "correction_features": float(correction.indices.size),
            **rates(self.guard, after),
            **seen,
        }
        return Attempt(correction, f"Refused: {why_not}." if why_not else "", metrics)


def _agreement(detector: Learnable, statements: Sequence[StoredFeedback]) -> int:
    return sum(detector.inspect(said.text).threat_detected == said.is_threat for said in statements)
