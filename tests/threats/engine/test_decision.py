"""From evidence to a verdict."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gatewright.threats import (
    DEFAULT_THRESHOLDS,
    LEVELS,
    DetectionRule,
    Evidence,
    decide,
    log_odds,
    probability,
    risk,
    worst_severity,
)


def _rule(tier: Any, severity: Any = "high") -> DetectionRule:
    return DetectionRule(id=tier, tier=tier, severity=severity, explain="X.", pattern="x", match=["x"])


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_log_odds_undo_the_probability(p: float) -> None:
    assert probability(log_odds(p)) == pytest.approx(p)


def test_both_ends_are_safe() -> None:
    assert probability(-1e9) < 1e-9 and probability(1e9) > 1 - 1e-9
    assert probability(log_odds(0.0)) < 1e-9 and probability(log_odds(1.0)) > 1 - 1e-9


def test_each_level_asks_for_less_than_the_one_below() -> None:
    assert len(DEFAULT_THRESHOLDS) == LEVELS
    for lower, higher in itertools.pairwise(DEFAULT_THRESHOLDS):
        assert all(b <= a for a, b in zip(lower, higher, strict=True))
    for level in DEFAULT_THRESHOLDS:
        assert list(level) == sorted(level)


@pytest.mark.parametrize(
    ("tiers", "p", "attack"),
    [
        (["certain"], 0.2, True),
        (["strong"], 0.25, True),
        (["strong"], 0.01, False),
        (["weak"], 0.3, False),
        (["weak"], 0.95, True),
        ([], 0.5, False),
        ([], 0.99, True),
    ],
)
def test_the_better_the_rule_the_less_the_model_must_be_sure(tiers: list[str], p: float, attack: bool) -> None:
    thresholds = (0.0, 0.10, 0.60, 0.90)
    verdict = decide(Evidence([_rule(tier) for tier in tiers], log_odds(p)), thresholds)
    assert verdict.attack is attack
    if tiers == ["certain"]:
        assert verdict.confidence >= 0.9
    assert 0.0 <= verdict.confidence <= 1.0


@pytest.mark.parametrize(
    ("tiers", "attack"),
    [(["certain"], True), (["strong", "strong"], True), (["strong"], False), (["weak"], False), ([], False)],
)
def test_without_a_model_rules_decide(tiers: list[str], attack: bool) -> None:
    assert decide(Evidence([_rule(tier) for tier in tiers], None), DEFAULT_THRESHOLDS[0]).attack is attack


def test_weak_rules_are_not_named_beside_strong_ones() -> None:
    verdict = decide(Evidence([_rule("weak"), _rule("certain")], 3.0), DEFAULT_THRESHOLDS[0])
    assert [rule.tier for rule in verdict.rules] == ["certain"]


def test_severity_and_risk() -> None:
    assert worst_severity([_rule("weak", "low"), _rule("weak", "critical")], 0.5) == "critical"
    assert worst_severity([], 0.99) == "high" and worst_severity([], 0.9) == "medium"
    assert risk("critical", 0.5) == 0.5 and risk("none", 1.0) == 0.0
