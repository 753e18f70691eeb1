"""DetectionWatch: counts, what people say, drift, and a sample of traffic."""

from __future__ import annotations

from gatewright.threats.findings import CLEAN, Inspection, ThreatDetectionResult
from gatewright.threats.learning.watch import WINDOW, DetectionWatch, stability_index

FOUND = Inspection(
    threat_detected=True,
    confidence=0.9,
    findings=[ThreatDetectionResult(threat_detected=True, threat_type="xss", detected_patterns=["xss-001", "model"])],
)


def test_counts() -> None:
    watch = DetectionWatch()
    for _ in range(3):
        watch.saw("x", CLEAN)
    watch.saw("<x", FOUND)
    statistics = watch.statistics()
    assert (statistics.inspections, statistics.detections, statistics.detection_rate) == (4, 1, 0.25)
    assert statistics.by_pattern == {"xss-001": 1, "model": 1}
    assert statistics.by_type == {"xss": 1}
    assert statistics.drift == 0.0


def test_what_people_say() -> None:
    """Too many findings called false are told, by the rules behind them."""
    watch = DetectionWatch()
    for _ in range(10):
        watch.saw("<x", FOUND)
    assert not watch.told(FOUND, is_threat=True)
    assert not watch.told(CLEAN, is_threat=True)
    assert [watch.told(FOUND, is_threat=False) for _ in range(5)] == [False, False, False, False, True]
    statistics = watch.statistics()
    assert (statistics.feedback_missed, statistics.feedback_false_alarms) == (1, 5)
    assert statistics.false_alarms == {"xss-001": 5, "model": 5}


def test_drift_is_told_when_a_window_ends() -> None:
    """The first window is the measure; a new model begins anew."""
    watch = DetectionWatch()
    assert not any(watch.saw("x", CLEAN) for _ in range(2 * WINDOW))
    told = [watch.saw("<x", FOUND) for _ in range(WINDOW)]
    assert told[-1] and not any(told[:-1])
    assert watch.drift() > 1.0
    assert watch.statistics().recent_detection_rate == 1.0
    watch.begin_anew()
    assert watch.drift() == 0.0


def test_a_sample_of_traffic_is_kept() -> None:
    watch = DetectionWatch()
    for number in range(80):
        watch.saw({"n": number}, CLEAN)
        watch.saw("x" * 5_000, CLEAN)
        watch.saw(object(), CLEAN)
    assert watch.traffic()
    assert all(set(value) == {"n"} for value in watch.traffic())


def test_stability_index() -> None:
    assert stability_index([10, 10], [100, 100]) < 0.01
    assert stability_index([100, 0], [0, 100]) > 1.0
    assert stability_index([0, 0], [0, 0]) == 0.0
