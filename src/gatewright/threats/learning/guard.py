"""The guard: a candidate must not be worse than the base where that is certain, or it is refused with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gatewright.threats.learning.detector import Learnable
from gatewright.threats.learning.reference import ReferenceRow

NEW_FALSE_ALARMS = 0.0005
"""Share of the guard's harmless rows by which false alarms may grow: new ones less those that are gone."""

CHANGED = 3.0
"""So many times what may be the balance may change for the worse, whatever changed for the better."""

NEW_ALARMS_IN_TRAFFIC = 0.005
"""Share of recent traffic that a candidate may flag and the detector in use does not."""

ENOUGH_TRAFFIC = 200


class Bounds(NamedTuple):
    """Shares of the guard's attacks, in all and within one category, by which those that are found may shrink."""

    lost: float
    lost_in_category: float


TAUGHT_ATTACKS = Bounds(0.01, 0.03)
"""Where all statements are of attacks: what is lost is a side effect that nobody can aim."""

TAUGHT_HARMLESS = Bounds(0.004, 0.02)
"""Where text is called harmless. The base model was trained on the guard, so that it holds those attacks more firmly
than others: of attacks that it never saw two to four times as many are lost."""


class Verdicts(NamedTuple):
    """For each row of the guard, whether it was flagged."""

    flagged: tuple[bool, ...]


def judge(detector: Learnable, rows: Sequence[ReferenceRow]) -> Verdicts:
    """Inspect every row as block mode with default settings would."""
    return Verdicts(tuple(detector.inspect(row.payload).threat_detected for row in rows))


def objection(rows: Sequence[ReferenceRow], base: Verdicts, candidate: Verdicts, bounds: Bounds) -> str:
    """Why the candidate is refused; empty when it is not. One row, where a share is less, is never too much."""
    attacks = Counter(row.category for row in rows if row.label)
    harmless = len(rows) - attacks.total()
    raised = _changed(rows, base, candidate, label=0, to=True).total()
    gone = _changed(rows, base, candidate, label=0, to=False).total()
    if _too_many(raised, gone, NEW_FALSE_ALARMS * harmless):
        return f"it flags {raised} of {harmless} harmless guard rows that the base model passes"
    lost = _changed(rows, base, candidate, label=1, to=False)
    found = _changed(rows, base, candidate, label=1, to=True)
    if _too_many(lost.total(), found.total(), bounds.lost * attacks.total()):
        return f"it misses {lost.total()} of {attacks.total()} guard attacks that the base model finds"
    for category, count in lost.items():
        if _too_many(count, found[category], bounds.lost_in_category * attacks[category]):
            return f"it misses {count} of {attacks[category]} guard attacks of category {category}"
    return ""


def _too_many(worse: int, better: int, allowed: float) -> bool:
    allowed = max(1.0, allowed)
    return worse - better > allowed or worse > CHANGED * allowed


def rates(rows: Sequence[ReferenceRow], verdicts: Verdicts) -> dict[str, float]:
    """Recall and false positives on the guard, 0 to 1."""
    hits = Counter(row.label for row, flagged in zip(rows, verdicts.flagged, strict=True) if flagged)
    total = Counter(row.label for row in rows)
    return {
        "guard_recall": round(hits[1] / max(1, total[1]), 5),
        "guard_fpr": round(hits[0] / max(1, total[0]), 5),
    }


def shadow_objection(current: Learnable, candidate: Learnable, traffic: Iterable[Any]) -> tuple[str, dict[str, float]]:
    """Judge recent traffic by both, the candidate's word without effect.

    Returns:
        why the candidate is refused (empty when it is not), and what was seen.
    """
    seen = raised = dropped = 0
    for value in traffic:
        before, after = current.inspect(value).threat_detected, candidate.inspect(value).threat_detected
        seen += 1
        raised += after and not before
        dropped += before and not after
    metrics = {"shadow_rows": float(seen), "shadow_newly_flagged": float(raised), "shadow_no_longer": float(dropped)}
    if seen >= ENOUGH_TRAFFIC and raised > NEW_ALARMS_IN_TRAFFIC * seen:
        return f"it flags {raised} of the last {seen} values of live traffic that pass now", metrics
    return "", metrics


def _changed(
    rows: Sequence[ReferenceRow], base: Verdicts, candidate: Verdicts, *, label: int, to: bool
) -> Counter[str]:
    return Counter(
        row.category
        for row, before, after in zip(rows, base.flagged, candidate.flagged, strict=True)
        if row.label == label and before is not to and after is to
    )
