"""Watching the detector at work: what it finds, what people say about that, and whether the traffic drifts."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import msgspec

from gatewright.threats.findings import Inspection
from gatewright.threats.results import PatternStatistics

WINDOW = 2_000
"""Inspections in the window of recent ones, and in each of those before."""

DRIFT_ALARM = 0.25
FALSE_ALARM_SHARE = 0.2
"""Share of findings that people call false from which on an alarm is given."""

_BINS = 10
_SAMPLE_EVERY = 8
_SAMPLES = 1_000
_SAMPLE_SIZE = 2_048


class DetectionWatch:
    """Counts inspections in this process; a call costs well under a microsecond unless something was found.

    The first full window is what later ones are compared with, until :meth:`begin_anew`.
    """

    def __init__(self) -> None:
        self._by_pattern: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._false_alarms: Counter[str] = Counter()
        self._feedback: Counter[str] = Counter()
        self._inspections = 0
        self._detections = 0
        self._traffic: deque[bytes] = deque(maxlen=_SAMPLES)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the windows: another model or level decides from now on."""
        self._first: list[int] | None = None
        self._previous: list[int] | None = None
        self._current = [0] * _BINS
        self._in_window = 0

    def saw(self, value: Any, inspection: Inspection) -> bool:
        """Count one inspection; True when a window ended and drifted."""
        self._inspections += 1
        self._current[min(_BINS - 1, int(inspection.confidence * _BINS))] += 1
        if inspection.threat_detected:
            self._detections += 1
            for found in inspection.findings:
                self._by_type[found.threat_type] += 1
                self._by_pattern.update(found.detected_patterns)
        if self._inspections % _SAMPLE_EVERY == 0:
            self._sample(value)
        self._in_window += 1
        return self._in_window >= WINDOW and self._turn_window()

    def told(self, inspection: Inspection, *, is_threat: bool) -> bool:
        """Count what a person said of a verdict; True when too many findings are called false."""
        if is_threat == inspection.threat_detected:
            self._feedback["right"] += 1
        elif is_threat:
            self._feedback["missed"] += 1
        else:
            self._feedback["false"] += 1
            for found in inspection.findings:
                self._false_alarms.update(found.detected_patterns)
        false = self._feedback["false"]
        return false >= 5 and false > FALSE_ALARM_SHARE * max(1, self._detections)

    def traffic(self) -> list[Any]:
        """A sample of recent values, each small; kept in memory only."""
        return [msgspec.json.decode(value) for value in self._traffic]

    def statistics(self) -> PatternStatistics:
        """The counts so far."""
        recent = self._previous or self._current
        return PatternStatistics(
            inspections=self._inspections,
            detections=self._detections,
            by_pattern=dict(self._by_pattern.most_common()),
            by_type=dict(self._by_type.most_common()),
            false_alarms=dict(self._false_alarms.most_common()),
            feedback_false_alarms=self._feedback["false"],
            feedback_missed=self._feedback["missed"],
            detection_rate=round(self._detections / max(1, self._inspections), 6),
            recent_detection_rate=round(sum(recent[_BINS // 2 :]) / max(1, sum(recent)), 6),
            drift=round(self.drift(), 4),
        )

    def drift(self) -> float:
        """The population stability index of the last full window against the first; 0 before there are two."""
        if self._first is None or self._previous is None:
            return 0.0
        return stability_index(self._first, self._previous)

    def _turn_window(self) -> bool:
        if self._first is None:
            self._first = self._current
        else:
            self._previous = self._current
        self._current = [0] * _BINS
        self._in_window = 0
        return self.drift() > DRIFT_ALARM

    def _sample(self, value: Any) -> None:
        try:
            encoded = msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            return
        if len(encoded) <= _SAMPLE_SIZE:
            self._traffic.append(encoded)


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
