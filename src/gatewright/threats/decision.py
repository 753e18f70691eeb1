"""The decision: rules, signals and the model's score combined into one verdict."""

from __future__ import annotations

import math
from typing import NamedTuple

from gatewright.threats.rules import DetectionRule

SEVERITIES = ("none", "low", "medium", "high", "critical")
_RISK = {"none": 0.0, "low": 0.35, "medium": 0.6, "high": 0.85, "critical": 1.0}
_TIER_RANK = {"weak": 0, "strong": 1, "certain": 2}

LEVELS = 4
DEFAULT_THRESHOLDS = (
    (0.0, 0.35, 0.80, 0.85),
    (0.0, 0.15, 0.60, 0.75),
    (0.0, 0.05, 0.30, 0.50),
    (0.0, 0.00, 0.10, 0.30),
)
"""By level: the probability from which a text is an attack when its best hit is certain, strong, weak or none."""


class Evidence(NamedTuple):
    """What is known of one text: the rules that match, and the model's margin (None without a model)."""

    rules: list[DetectionRule]
    margin: float | None

    @property
    def rank(self) -> int:
        """Of the best rule: 2 certain, 1 strong, 0 weak, -1 none."""
        return max((_TIER_RANK[rule.tier] for rule in self.rules), default=-1)


class Verdict(NamedTuple):
    """Whether it is an attack, how sure that is, and which rules carry it."""

    attack: bool
    confidence: float
    rules: list[DetectionRule]


def probability(margin: float) -> float:
    """The logistic function, safe at both ends."""
    return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, margin))))


def log_odds(p: float) -> float:
    """The margin at which the probability is ``p``."""
    return -40.0 if p <= 0.0 else 40.0 if p >= 1.0 else math.log(p / (1.0 - p))


def decide(evidence: Evidence, thresholds: tuple[float, ...] | list[float]) -> Verdict:
    """The verdict for the thresholds of a level.

    Without a model a certain rule decides, and so do two strong ones together.
    """
    best = evidence.rank
    carrying = [rule for rule in evidence.rules if _TIER_RANK[rule.tier] >= min(best, 1)]
    if evidence.margin is None:
        strong = sum(rule.tier == "strong" for rule in evidence.rules)
        attack = best == 2 or strong >= 2
        return Verdict(attack, 0.9 if best == 2 else 0.7 if attack else 0.0, carrying)
    p = probability(evidence.margin)
    attack = p >= thresholds[2 - best]
    if best == 2:
        confidence = max(0.9, p)
    elif best == 1:
        confidence = 0.5 + 0.5 * p if attack else p
    else:
        confidence = p
    return Verdict(attack, confidence, carrying)


def worst_severity(rules: list[DetectionRule], confidence: float) -> str:
    """The highest severity among the rules; by confidence where the model alone decided."""
    if not rules:
        return "high" if confidence >= 0.97 else "medium"
    return max((rule.severity for rule in rules), key=SEVERITIES.index)


def risk(severity: str, confidence: float) -> float:
    """From 0 to 1: how bad it would be, times how sure it is."""
    return round(_RISK[severity] * confidence, 4)
