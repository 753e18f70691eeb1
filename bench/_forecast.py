"""The back-test of the forecast: five shapes of generated tenants, and how often what came lay in the interval."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from gatewright.rbac.insights.forecast import span
from gatewright.records import Record

HISTORY_DAYS = 120


class Coverage(Record, frozen=True, kw_only=True):
    """How a shape did: ``coverage`` is the share of outcomes inside the 80 % interval."""

    shape: str
    rounds: int
    coverage: float
    mean_error: float


def steady(chance: random.Random, day: int, level: float) -> float:
    """The same every day, but for noise."""
    return max(0.0, chance.gauss(level, level * 0.15))


def growing(chance: random.Random, day: int, level: float) -> float:
    """One per cent more each day, with noise."""
    return max(0.0, chance.gauss(level * 1.01**day, level * 1.01**day * 0.15))


def seasonal(chance: random.Random, day: int, level: float) -> float:
    """Busy on working days, quiet at the weekend."""
    return max(0.0, chance.gauss(level, level * 0.1)) * (0.2 if day % 7 >= 5 else 1.2)


def bursty(chance: random.Random, day: int, level: float) -> float:
    """Mostly little, now and then a lot."""
    return level * (chance.uniform(5, 10) if chance.random() < 0.15 else chance.uniform(0.1, 0.5))


def idle(chance: random.Random, day: int, level: float) -> float:
    """Hardly ever anything."""
    return float(chance.randint(1, 3)) if chance.random() < 0.1 else 0.0


SHAPES: dict[str, Callable[[random.Random, int, float], float]] = {
    "steady": steady,
    "growing": growing,
    "seasonal": seasonal,
    "bursty": bursty,
    "idle": idle,
}


def generate(shape: str, chance: random.Random, days: int) -> list[float]:
    """Daily use of one generated tenant, whole units, oldest first."""
    level = math.exp(chance.uniform(math.log(20), math.log(2_000)))
    return [float(round(SHAPES[shape](chance, day, level))) for day in range(days)]


def back_test(*, rounds: int = 200, seed: int = 1) -> list[Coverage]:
    """For each shape, forecast the rest of a cycle of random length for ``rounds`` tenants, and compare."""
    results = []
    for shape in SHAPES:
        chance, inside, errors = random.Random(f"{shape}{seed}"), 0, []
        for _ in range(rounds):
            days = chance.randint(3, 28)
            known_days = chance.randint(70, HISTORY_DAYS)
            series = generate(shape, chance, known_days + days)
            ahead, came = span(series[:known_days], days), sum(series[known_days:])
            inside += ahead.low <= came <= ahead.high
            errors.append(abs(came - ahead.expected) / max(1.0, came))
        results.append(
            Coverage(shape=shape, rounds=rounds, coverage=inside / rounds, mean_error=sum(errors) / len(errors))
        )
    return results
