"""Drift: whether counts over the same bins are still what they were at first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatewright.threats.decision import Evidence

BANDS = ("not asked", "under -8", "-8 to -6", "-6 to -4", "-4 to -2", "-2 to 0", "over 0", "a rule")
"""What is known of a text that passed: the model was not asked, its margin (log odds of an attack), or a rule hit."""

_UNASKED = -39.0
_FIRST_EDGE, _STEP = -8.0, 2.0


def band_of(evidence: Evidence) -> int:
    """The number of the band of a text."""
    if evidence.rules:
        return len(BANDS) - 1
    if evidence.margin is None or evidence.margin < _UNASKED:
        return 0
    step = math.floor((evidence.margin - _FIRST_EDGE) / _STEP) + 2
    return max(1, min(len(BANDS) - 2, step))


class Drift:
    """Windows of counts; the first full one is what later ones are compared with.

    Args:
        bins: how many bins there are.
        size: counts in a window.
        alarm: the stability index from which the traffic counts as another.
    """

    def __init__(self, bins: int, size: int, alarm: float) -> None:
        self._bins = bins
        self._size = size
        self._alarm = alarm
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget all windows."""
        self.first: list[int] | None = None
        self.last: list[int] | None = None
        self._counts = [0] * self._bins
        self._left = self._size
        self._drifted = False

    def add(self, which: int) -> bool:
        """Count one; True when a window ended that drifted, and the one before it had not."""
        self._counts[which] += 1
        self._left -= 1
        return self._left <= 0 and self._turn()

    def _turn(self) -> bool:
        if self.first is None:
            self.first = self._counts
        else:
            self.last = self._counts
        self._counts, self._left = [0] * self._bins, self._size
        before, self._drifted = self._drifted, self.index() > self._alarm
        return self._drifted and not before

    def index(self) -> float:
        """The population stability index of the last full window against the first; 0 before there are two."""
        return 0.0 if self.first is None or self.last is None else stability_index(self.first, self.last)

    def newest(self) -> list[int]:
        """The counts of the last full window, or of the present one before there is any."""
        return self.last or self.first or self._counts


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """How far two histograms over the same bins are apart: 0 for the same shape, no upper bound.

    Each bin gets half a count, so that an empty one does not make the index infinite.
    """
    total_before = sum(before) + len(before) / 2
    total_after = sum(after) + len(after) / 2
    index = 0.0
    for one, other in zip(before, after, strict=True):
        p, q = (one + 0.5) / total_before, (other + 0.5) / total_after
        index += (p - q) * math.log(p / q)
    return index


def shares(counts: Sequence[int], names: Sequence[str]) -> dict[str, float]:
    """Each bin's share of all, by name; nothing where nothing was counted."""
    total = sum(counts)
    return {} if not total else {name: round(n / total, 4) for name, n in zip(names, counts, strict=True)}
