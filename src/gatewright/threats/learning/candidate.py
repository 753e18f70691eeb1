"""One learning attempt: fit with less and less freedom until the regression gate accepts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from gatewright.storage.feedback import StoredFeedback
from gatewright.threats.learning.feedback import MAX_TEXTS, Score, doubted, score
from gatewright.threats.learning.fit import Caps, Correction, Encoded, fit_correction
from gatewright.threats.learning.regression_gate import (
    TAUGHT_ATTACKS,
    TAUGHT_HARMLESS,
    Learnable,
    ReferenceRow,
    Verdicts,
    judge,
    load_reference,
    objection,
    rates,
    shadow_objection,
)
from gatewright.threats.walk import Walk

LADDER = (Caps(replay=0.01), Caps(replay=0.03), Caps(replay=0.1), Caps(replay=0.3))
"""The caps that are tried, the loosest first."""

TEXTS_OF_A_ROW = 3
"""Texts of a harmless row that the replay has; the others look even less like an attack."""

NOTHING = Correction(np.zeros(0, np.int64), np.zeros(0, np.float32))


class CandidateResult(NamedTuple):
    """What came of it; ``objection`` says why it is refused and is empty when it is accepted.

    ``doubted`` are the actors whose statements were left out; ``unlearnable`` says that the statements, taken together,
    do not fit what is known.
    """

    correction: Correction
    objection: str
    metrics: dict[str, float]
    doubted: frozenset[str] = frozenset()
    unlearnable: bool = False


def attempt(
    current: Learnable,
    statements: Sequence[StoredFeedback],
    traffic: Iterable[Any] = (),
    reference: Sequence[ReferenceRow] | None = None,
) -> CandidateResult:
    """Fit a correction to the base of ``current`` and evaluate it. Slow (seconds): not for the event loop.

    Args:
        current: the detector in use.
        statements: what to learn from.
        traffic: recent values to try the candidate on.
        reference: replay and guard rows; those that ship with the package when missing.
    """
    rows = load_reference() if reference is None else reference
    base = current.with_correction(None)
    known = _encode_replay(base, [row for row in rows if row.part == "replay"])
    guard = [row for row in rows if row.part == "guard"]
    trial = _Trial(current, guard, judge(base, guard), tuple(traffic))
    lesson = Lesson.of(base, statements, known)
    result = _descend(trial, lesson)
    liars = lesson.doubted() if result.objection and statements else frozenset()
    believed = [said for said in statements if said.actor not in liars]
    if liars and believed:
        result = _descend(trial, Lesson.of(base, believed, known))
    return result._replace(doubted=liars)


def _descend(trial: _Trial, lesson: Lesson) -> CandidateResult:
    """Down the ladder until nothing is objected; or until too little is learned, since tighter caps teach less."""
    result = CandidateResult(NOTHING, "There is nothing to learn from: no statement counts.", {})
    for number, caps in enumerate(LADDER if lesson.statements else ()):
        correction = lesson.fitted(caps)
        learned = lesson.learned(correction)
        if not learned.fits:
            why_not = f"Refused: it learned {learned[True]} of {learned.total()} corrections."
            return (
                result if number else CandidateResult(correction, why_not, lesson.metrics(correction), unlearnable=True)
            )
        result = trial.judge(lesson, correction)
        if not result.objection:
            break
    return result


class Known(NamedTuple):
    """Texts of the replay as the detector sees them, and whether each is an attack."""

    texts: list[Encoded]
    labels: list[bool]


class Lesson(NamedTuple):
    """Statements, and what the base model makes of them."""

    base: Learnable
    statements: tuple[StoredFeedback, ...]
    encoded: list[Encoded]
    before: list[bool]
    known: Known

    @classmethod
    def of(cls, base: Learnable, statements: Sequence[StoredFeedback], known: Known) -> Lesson:
        """The lesson that these statements make."""
        encoded = [base.encode(said.text) for said in statements]
        return cls(base, tuple(statements), encoded, _as_told(base, statements), known)

    def fitted(self, caps: Caps) -> Correction:
        """What the lesson teaches within ``caps``."""
        labels = [said.is_threat for said in self.statements]
        return fit_correction(self.encoded, labels, self.known.texts, self.known.labels, caps=caps)

    def doubted(self) -> frozenset[str]:
        """The actors whose corrections are not learned where known text weighs most."""
        after = _as_told(self.base.with_correction(self.fitted(LADDER[-1])), self.statements)
        return doubted([said.actor for said in self.statements], self.before, after)

    def learned(self, correction: Correction) -> Score:
        """How many of the statements that the base contradicts now get the stated label."""
        return score(self.before, _as_told(self.base.with_correction(correction), self.statements))

    def metrics(self, correction: Correction) -> dict[str, float]:
        """Counts, and the length of the correction."""
        told = sum(self.before)
        return {
            "statements": float(len(self.statements)),
            "statements_as_told": float(told + self.learned(correction)[True]),
            "statements_as_told_by_base": float(told),
            "correction_length": round(float(np.linalg.norm(correction.values)), 4),
            "correction_features": float(correction.indices.size),
        }


def _encode_replay(base: Learnable, rows: Sequence[ReferenceRow]) -> Known:
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
    return Known(known, labels)


class _Trial(NamedTuple):
    """What a candidate is measured against."""

    current: Learnable
    guard: list[ReferenceRow]
    before: Verdicts
    traffic: tuple[Any, ...]

    def judge(self, lesson: Lesson, correction: Correction) -> CandidateResult:
        candidate = lesson.base.with_correction(correction)
        after = judge(candidate, self.guard)
        shadow, seen = shadow_objection(self.current, candidate, self.traffic)
        bounds = TAUGHT_ATTACKS if all(said.is_threat for said in lesson.statements) else TAUGHT_HARMLESS
        why_not = objection(self.guard, self.before, after, bounds) or shadow
        metrics = {**lesson.metrics(correction), **rates(self.guard, after), **seen}
        return CandidateResult(correction, f"Refused: {why_not}." if why_not else "", metrics)


def _as_told(detector: Learnable, statements: Sequence[StoredFeedback]) -> list[bool]:
    return [detector.inspect(said.text).threat_detected == said.is_threat for said in statements]
