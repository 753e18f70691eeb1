"""DetectionWatch: counts, what people say, drift, and a sample of traffic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from gatewright.inspection_policy import WatchPolicy
from gatewright.testing import ListSink
from gatewright.threats import (
    BANDS,
    CLEAN,
    TEXTS,
    DetectionWatch,
    Drift,
    Evidence,
    FalseAlarms,
    Inspection,
    ManufacturerSecurityValidator,
    ThreatDetectionResult,
    band_of,
    load_rules,
    shares,
    stability_index,
)
from gatewright.threats.learning.telemetry import WINDOW

FOUND = Inspection(
    threat_detected=True,
    confidence=0.9,
    findings=[ThreatDetectionResult(threat_detected=True, threat_type="xss", detected_patterns=["xss-001", "model"])],
)
OTHER = Inspection(
    threat_detected=True,
    confidence=0.9,
    findings=[ThreatDetectionResult(threat_detected=True, threat_type="ssrf", detected_patterns=["ssrf-001"])],
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
    """Too many findings called false are reported, by the rules behind them."""
    watch = DetectionWatch()
    for _ in range(10):
        watch.saw("<x", FOUND)
    assert not watch.told(FOUND, is_threat=True)
    assert not watch.told(CLEAN, is_threat=True)
    told = [watch.told(FOUND, is_threat=False) for _ in range(6)]
    assert [len(alarms) for alarms in told] == [0, 0, 0, 0, 4, 0], "each is told of once"
    assert FalseAlarms("rule", "xss-001", findings=10, corrected=5) in told[4]
    assert {alarm.name for alarm in told[4]} == {"all", "xss", "xss-001", "model"}
    statistics = watch.statistics()
    assert (statistics.feedback_missed, statistics.feedback_false_alarms) == (1, 6)
    assert statistics.false_alarms == {"xss-001": 6, "model": 6}
    assert statistics.false_alarms_by_type == {"xss": 6}
    assert statistics.false_alarm_share == {"model": 0.6, "xss-001": 0.6}
    assert statistics.false_alarm_share_by_type == {"xss": 0.6}


def test_false_alarms_are_judged_by_rule_and_within_the_bounds() -> None:
    watch = DetectionWatch(WatchPolicy(false_share=0.5, false_findings=2))
    for _ in range(100):
        watch.saw("<x", FOUND)
    watch.saw("u", OTHER)
    assert not any(watch.told(FOUND, is_threat=False) for _ in range(40))
    assert not watch.told(OTHER, is_threat=False), "one correction is nothing"
    (kind, rule) = watch.told(OTHER, is_threat=False)
    assert (kind.of, kind.name, rule.of, rule.name) == ("rule", "ssrf-001", "threat_type", "ssrf")
    watch.begin_anew()
    assert watch.statistics().false_alarm_share == {} and watch.statistics().false_alarms["ssrf-001"] == 2


def test_drift_is_told_when_a_window_ends() -> None:
    """The first window is the measure; a new model begins again."""
    watch = DetectionWatch()
    assert not any(watch.saw("x", CLEAN) for _ in range(2 * WINDOW))
    told = [watch.saw("<x", FOUND) for _ in range(WINDOW)]
    assert not any(told[:-1])
    (drift,) = told[-1]
    assert drift.of == "verdicts" and drift.before["0.0"] == 1.0 and drift.after["0.9"] == 1.0
    assert not any(watch.saw("<x", FOUND) for _ in range(WINDOW)), "told once while it lasts"
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


def _looks(watch: DetectionWatch, seen: list[Evidence], inspections: int) -> list[Any]:
    watch._look_again = lambda _: seen
    return [alarm for _ in range(inspections) for alarm in watch.saw("ordinary", CLEAN)]


def test_drift_of_ordinary_traffic_is_told_though_nothing_is_found() -> None:
    """Texts that come nearer to an attack are another traffic, long before they are one."""
    watch = DetectionWatch()
    far, near = Evidence([], -9.5), Evidence([], -1.0)
    texts = [far] * 100
    needed = 128 * TEXTS // 100
    assert not _looks(watch, texts, 2 * needed)
    assert watch.statistics().traffic["under -8"] == 1.0 and watch.statistics().traffic_drift == 0.0
    (drift,) = _looks(watch, [near] * 100, needed)
    assert drift.of == "texts" and drift.before["under -8"] == 1.0 and drift.after["-2 to 0"] == 1.0
    assert watch.statistics().traffic_drift > 1.0
    assert not _looks(watch, [near] * 100, needed)


def test_what_is_found_or_large_is_not_looked_at_again() -> None:
    watch = DetectionWatch()
    looked: list[Any] = []

    def look(value: Any) -> list[Evidence]:
        looked.append(value)
        return []

    watch.begin_anew(look)
    for _ in range(256):
        watch.saw("<x", FOUND)
        watch.saw("x" * 5_000, CLEAN)
    assert not looked
    for _ in range(256):
        watch.saw("small", CLEAN)
    assert looked == ["small", "small"]


@given(st.integers(-6_000, 4_000).map(lambda hundredths: hundredths / 100))
def test_every_margin_has_its_band(margin: float) -> None:
    name = BANDS[band_of(Evidence([], margin))]
    if margin < -39:
        assert name == "not asked"
    else:
        assert name == "under -8" if margin < -8 else name == "over 0" if margin >= 0 else " to " in name
        if " to " in name:
            low, high = map(float, name.split(" to "))
            assert low <= margin < high
    assert band_of(Evidence([], None)) == 0


def test_a_rule_has_a_band_of_its_own() -> None:
    assert BANDS[band_of(Evidence(list(load_rules().rules[:1]), -20.0))] == "a rule"


def test_shares_of_nothing() -> None:
    assert shares([0, 0], "ab") == {}
    assert shares([1, 3], "ab") == {"a": 0.25, "b": 0.75}


def test_drift_begins_anew() -> None:
    drift = Drift(2, 10, 0.25)
    assert not any(drift.add(0) for _ in range(20))
    assert [drift.add(1) for _ in range(10)][-1]
    drift.begin_anew()
    assert drift.index() == 0.0 and not any(drift.add(1) for _ in range(20))


async def test_what_people_correct_too_often_is_an_event() -> None:
    sink = ListSink()
    async with ManufacturerSecurityValidator(sink=sink) as validator:
        for number in range(5):
            value = f"1 UNION SELECT password FROM users_{number} --"
            assert (await validator.inspect(value)).threat_detected
            await validator.provide_threat_feedback(value, "sql_injection", False, actor=f"actor-{number}")
        told = [e.data for e in sink.events if e.kind == "threats:model:false_alarms"]
        assert {"of": "threat_type", "name": "sql_injection", "findings": 5, "corrected": 5} in told
        statistics = await validator.get_pattern_statistics()
        assert statistics.false_alarm_share_by_type["sql_injection"] == pytest.approx(1.0)


def test_stability_index() -> None:
    assert stability_index([10, 10], [100, 100]) < 0.01
    assert stability_index([100, 0], [0, 100]) > 1.0
    assert stability_index([0, 0], [0, 0]) == 0.0
