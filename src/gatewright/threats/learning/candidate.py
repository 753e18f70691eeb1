"""One attempt to learn: fit with less and less freedom until the guard does not object, or give up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from gatewright.storage.feedback import StoredFeedback
from gatewright.threats.learning.detector import Learnable
from gatewright.threats.learning.fit import Caps, Correction, fit_correction
from gatewright.threats.learning.guard import Verdicts, judge, objection, rates, shadow_objection
from gatewright.threats.learning.reference import ReferenceRow, load_reference

LADDER = (
    Caps(),
    Caps(weight=6.0, length=30.0, replay=0.8),
    Caps(weight=4.0, length=20.0, replay=3.0),
    Caps(weight=3.0, length=12.0, replay=12.0),
)
"""The caps that are tried, the loosest first."""

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
    known = [base.encode(as_text(row.payload)) for row in replay]
    labels = [statement.is_threat for statement in statements]
    known_labels = [bool(row.label) for row in replay]
    result = Attempt(NOTHING, "There is nothing to learn from: no statement counts.", {})
    for caps in LADDER if statements else ():
        result = trial.judge(fit_correction(said, labels, known, known_labels, caps=caps))
        if not result.objection:
            break
    return result


def as_text(payload: Any) -> str:
    """A row's payload as the text that a model sees when it is one string."""
    return payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()


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
