"""Telemetry of the detector: its findings, the feedback on them, and drift of the traffic."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from gatewright.inspection_policy import WatchPolicy
from gatewright.threats.decision import Evidence
from gatewright.threats.results import Inspection, PatternStatistics

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
        """Count one score; True if it completes the first window that drifted."""
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


WINDOW = 2_000
"""Inspections in the window of recent ones, and in each of those before."""

TEXTS = 1_000
"""Texts of ordinary traffic in a window."""

_BINS = 10
_SAMPLE_EVERY = 8
_LOOK_EVERY = 128
"""Every so many inspections an ordinary value is scored again, to see how close to an attack its texts are."""

_SAMPLES = 1_000
_SAMPLE_SIZE = 2_048

LookAgain = Callable[[Any], Iterable[Evidence]]


class Drifted(NamedTuple):
    """Traffic is not what it was: ``of`` the confidences of ``verdicts``, or the ``texts`` that pass."""

    of: str
    stability_index: float
    before: dict[str, float]
    after: dict[str, float]


class FalseAlarms(NamedTuple):
    """People corrected too many findings ``of`` a ``rule``, a ``threat_type``, or of ``all``."""

    of: str
    name: str
    findings: int
    corrected: int


class DetectionWatch:
    """Counts inspections in this process; a call costs well under a microsecond unless something was found.

    The first full window is what later ones are compared with, until :meth:`begin_anew`.

    Args:
        bounds: when something is worth telling.
    """

    def __init__(self, bounds: WatchPolicy | None = None) -> None:
        self.bounds = bounds or WatchPolicy()
        self._by_pattern: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._false_by_pattern: Counter[str] = Counter()
        self._false_by_type: Counter[str] = Counter()
        self._feedback: Counter[str] = Counter()
        self._inspections = 0
        self._detections = 0
        self._traffic: deque[bytes] = deque(maxlen=_SAMPLES)
        self._verdicts = Drift(_BINS, WINDOW, self.bounds.drift)
        self._texts = Drift(len(BANDS), TEXTS, self.bounds.drift)
        self.begin_anew()

    def begin_anew(self, look_again: LookAgain | None = None) -> None:
        """Forget the windows and what people corrected: another model or level decides from now on.

        Args:
            look_again: what the detector knows of each text of a value before it decides.
        """
        self._look_again = look_again
        self._verdicts.begin_anew()
        self._texts.begin_anew()
        self._found: Counter[tuple[str, str]] = Counter()
        self._corrected: Counter[tuple[str, str]] = Counter()
        self._told_of: set[tuple[str, str]] = set()

    def saw(self, value: Any, inspection: Inspection) -> list[Drifted]:
        """Count one inspection and return the drifts it reveals, almost always none."""
        self._inspections += 1
        if inspection.threat_detected:
            self._detections += 1
            for found in inspection.findings:
                self._by_type[found.threat_type] += 1
                self._by_pattern.update(found.detected_patterns)
            self._found.update(_subjects(inspection))
        alarms = []
        if self._verdicts.add(min(_BINS - 1, int(inspection.confidence * _BINS))):
            names = [f"{bin_ / _BINS:.1f}" for bin_ in range(_BINS)]
            alarms.append(_drifted("verdicts", self._verdicts, names))
        if self._inspections % _SAMPLE_EVERY == 0:
            small = self._sample(value)
            if small and self._inspections % _LOOK_EVERY == 0 and not inspection.threat_detected:
                alarms += self._look(value)
        return alarms

    def told(self, inspection: Inspection, *, is_threat: bool) -> list[FalseAlarms]:
        """Count what a person said of a verdict; the rules and types of which too many findings are called false."""
        if is_threat == inspection.threat_detected:
            self._feedback["right"] += 1
        elif is_threat:
            self._feedback["missed"] += 1
        else:
            self._feedback["false"] += 1
            for found in inspection.findings:
                self._false_by_type[found.threat_type] += 1
                self._false_by_pattern.update(found.detected_patterns)
            self._corrected.update(_subjects(inspection))
            return list(self._too_often(inspection))
        return []

    def _too_often(self, inspection: Inspection) -> Iterator[FalseAlarms]:
        for subject in sorted(_subjects(inspection)):
            corrected = self._corrected[subject]
            if corrected < self.bounds.false_findings or subject in self._told_of:
                continue
            if self._share(subject) > self.bounds.false_share:
                self._told_of.add(subject)
                yield FalseAlarms(*subject, max(self._found[subject], corrected), corrected)

    def _share(self, subject: tuple[str, str]) -> float:
        """Of the values found for a subject, those that people corrected; one may be told of twice."""
        return min(1.0, self._corrected[subject] / max(1, self._found[subject], self._corrected[subject]))

    def traffic(self) -> list[Any]:
        """A sample of recent values, each small; kept in memory only."""
        return [msgspec.json.decode(value) for value in self._traffic]

    def statistics(self) -> PatternStatistics:
        """The counts so far."""
        recent = self._verdicts.newest()
        return PatternStatistics(
            inspections=self._inspections,
            detections=self._detections,
            by_pattern=dict(self._by_pattern.most_common()),
            by_type=dict(self._by_type.most_common()),
            false_alarms=dict(self._false_by_pattern.most_common()),
            false_alarms_by_type=dict(self._false_by_type.most_common()),
            false_alarm_share=self._shares("rule"),
            false_alarm_share_by_type=self._shares("threat_type"),
            feedback_false_alarms=self._feedback["false"],
            feedback_missed=self._feedback["missed"],
            detection_rate=round(self._detections / max(1, self._inspections), 6),
            recent_detection_rate=round(sum(recent[_BINS // 2 :]) / max(1, sum(recent)), 6),
            drift=round(self.drift(), 4),
            traffic=shares(self._texts.newest(), BANDS),
            traffic_drift=round(self._texts.index(), 4),
        )

    def _shares(self, of: str) -> dict[str, float]:
        found = {name: round(self._share((kind, name)), 4) for kind, name in self._corrected if kind == of}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def drift(self) -> float:
        """The population stability index of the last full window of verdicts against the first."""
        return self._verdicts.index()

    def _look(self, value: Any) -> Iterator[Drifted]:
        """See how near to an attack the texts of an ordinary value are."""
        for evidence in self._look_again(value) if self._look_again else ():
            if self._texts.add(band_of(evidence)):
                yield _drifted("texts", self._texts, BANDS)

    def _sample(self, value: Any) -> bool:
        """Keep a value that is small; whether it is."""
        try:
            encoded = msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            return False
        if len(encoded) > _SAMPLE_SIZE:
            return False
        self._traffic.append(encoded)
        return True


def _subjects(inspection: Inspection) -> set[tuple[str, str]]:
    """What a verdict is about: its rules, its threat types, and all verdicts; each counts once a value."""
    found = {("all", "all")}
    for finding in inspection.findings:
        found.add(("threat_type", finding.threat_type))
        found.update(("rule", rule) for rule in finding.detected_patterns)
    return found


def _drifted(of: str, drift: Drift, names: Iterable[str]) -> Drifted:
    listed = list(names)
    return Drifted(of, round(drift.index(), 3), shares(drift.first or [], listed), shares(drift.last or [], listed))
