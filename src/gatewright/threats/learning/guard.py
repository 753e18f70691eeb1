"""The guard: a candidate must not be worse than the base where that is certain, or it is refused with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gatewright.threats.learning.detector import Learnable
from gatewright.threats.learning.reference import ReferenceRow

NEW_FALSE_ALARMS = 0.001
"""Share of the guard's harmless rows that a candidate may flag and the base does not."""

LOST_RECALL = 0.01
"""Share of the guard's attacks that the base finds and a candidate may miss."""

LOST_IN_CATEGORY = 0.05
"""The same within one category."""

NEW_ALARMS_IN_TRAFFIC = 0.005
"""Share of recent traffic that a candidate may flag and the detector in use does not."""

ENOUGH_TRAFFIC = 200


class Verdicts(NamedTuple):
    """For each row of the guard, whether it was flagged."""

    flagged: tuple[bool, ...]


def judge(detector: Learnable, rows: Sequence[ReferenceRow]) -> Verdicts:
    """Inspect every row as block mode with default settings would."""
    return Verdicts(tuple(detector.inspect(row.payload).threat_detected for row in rows))


def objection(rows: Sequence[ReferenceRow], base: Verdicts, candidate: Verdicts) -> str:
    """Why the candidate is refused; empty when it is not."""
    harmless = sum(not row.label for row in rows)
    attacks = len(rows) - harmless
    false_alarms = _changed(rows, base, candidate, label=0, to=True)
    lost = _changed(rows, base, candidate, label=1, to=False)
    if sum(false_alarms.values()) > NEW_FALSE_ALARMS * harmless:
        return f"it flags {sum(false_alarms.values())} of {harmless} harmless guard rows that the base model passes"
    if sum(lost.values()) > LOST_RECALL * attacks:
        return f"it misses {sum(lost.values())} of {attacks} guard attacks that the base model finds"
    of_category = Counter(row.category for row in rows if row.label)
    for category, count in lost.items():
        if count > max(1.0, LOST_IN_CATEGORY * of_category[category]):
            return f"it misses {count} of {of_category[category]} guard attacks of category {category}"
    return ""


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
