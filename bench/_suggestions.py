"""The back-test of tier suggestions: generated tenants whose future is known, many of them hard to tell.

What a tenant wants is generated for 150 days. Of the first 120 the method sees what a quota lets through, and the
refusals; the label is what is wanted in the 30 days after. A suggestion to move up is right where that is more than
the present limit, one to move down where it fits into the lower one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from bench._forecast import SHAPES
from gatewright.policy import Policy
from gatewright.rbac.insights.analytics import analyse
from gatewright.rbac.insights.tiers import REFUSAL_DAYS, Refusals, judge
from gatewright.rbac.records import UsageResult
from gatewright.records import Record

PAST, FUTURE = 120, 30
CYCLE = 30
_NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Precision(Record, frozen=True, kw_only=True):
    """How a kind of tenant did. ``suggested`` moves of which ``right`` came true; ``needed`` tenants will want more
    than they have, and ``found`` of them were told to move up. Both shares are 1.0 where there is nothing to find."""

    kind: str
    tenants: int
    suggested: int
    right: int
    needed: int
    found: int

    @property
    def precision(self) -> float:
        """The share of suggestions that came true."""
        return self.right / self.suggested if self.suggested else 1.0

    @property
    def recall(self) -> float:
        """The share of tenants in need that were told."""
        return self.found / self.needed if self.needed else 1.0


def _shaped(chance: random.Random, ratio: float) -> list[float]:
    """One of the shapes of the forecast's back-test."""
    shape = chance.choice(["steady", "growing", "seasonal", "bursty"])
    days = [SHAPES[shape](chance, day, 100.0) for day in range(PAST + FUTURE)]
    return _scaled(days, ratio)


def clear(chance: random.Random) -> list[float]:
    """Far from the limit, below or above."""
    return _shaped(chance, chance.choice([chance.uniform(0.1, 0.6), chance.uniform(1.6, 4.0)]))


def near(chance: random.Random) -> list[float]:
    """A month comes to the limit, give or take a sixth."""
    return _shaped(chance, chance.uniform(0.85, 1.15))


def noisy(chance: random.Random) -> list[float]:
    """Days that differ by factors, around the limit."""
    days = [chance.lognormvariate(0.0, 1.0) for _ in range(PAST + FUTURE)]
    return _scaled(days, chance.uniform(0.4, 1.6))


def one_off(chance: random.Random) -> list[float]:
    """Well below the limit, but for a few wild days that do not come again."""
    days = _scaled([chance.gauss(100, 15) for _ in range(PAST + FUTURE)], chance.uniform(0.3, 0.8))
    length, size = chance.randint(1, 5), chance.uniform(0.3, 2.0)
    begin = chance.randint(PAST - 40, PAST - length)
    for day in range(begin, begin + length):
        days[day] += size / length
    return days


def month_end(chance: random.Random) -> list[float]:
    """Half of the month's use comes in a few days once a month, on working days most of the rest."""
    at, ratio = chance.randrange(CYCLE), chance.uniform(0.5, 1.5)
    days = [
        chance.gauss(100, 15) * (5 if (day - at) % CYCLE < 4 else 0.7) * (0.3 if day % 7 >= 5 else 1.0)
        for day in range(PAST + FUTURE)
    ]
    return _scaled(days, ratio)


def campaign(chance: random.Random) -> list[float]:
    """Two to five weeks of much more than usual, which end soon after now or have just ended."""
    days = _scaled([chance.gauss(100, 20) for _ in range(PAST + FUTURE)], chance.uniform(0.3, 0.7))
    end = PAST + chance.randint(-12, 6)
    factor = chance.uniform(2.0, 4.0)
    for day in range(end - chance.randint(14, 35), end):
        days[day] *= factor
    return days


def step(chance: random.Random) -> list[float]:
    """Two to five weeks of much more than before, which stay."""
    days = [chance.gauss(100, 20) for _ in range(PAST + FUTURE)]
    begin, factor = PAST - chance.randint(14, 35), chance.uniform(2.0, 4.0)
    return _scaled(
        [units * (factor if day >= begin else 1) for day, units in enumerate(days)], chance.uniform(0.6, 2.0)
    )


def waves(chance: random.Random) -> list[float]:
    """A slow season of two to four months, at any point of it."""
    period, phase = chance.uniform(60, 120), chance.random()
    days = [
        (1 + 0.6 * math.sin(2 * math.pi * (day / period + phase))) * chance.gauss(100, 15)
        for day in range(PAST + FUTURE)
    ]
    return _scaled(days, chance.uniform(0.5, 1.6))


KINDS: dict[str, Callable[[random.Random], list[float]]] = {
    "clear": clear,
    "near the limit": near,
    "noisy": noisy,
    "one-off burst": one_off,
    "month's end": month_end,
    "campaign": campaign,
    "step": step,
    "slow season": waves,
}


def _scaled(days: Sequence[float], ratio: float) -> list[float]:
    """So that the mean month of the last two around now comes to ``ratio``, in units of the limit."""
    around = days[PAST - CYCLE : PAST + CYCLE]
    mean = max(1e-9, sum(around) / 2)
    return [max(0.0, day) / mean * ratio for day in days]


def back_test_suggestions(policy: Policy, *, rounds: int = 40, seed: int = 1) -> list[Precision]:
    """For each kind, judge ``rounds`` tenants by their past, and compare with their future."""
    return [_of_kind(policy, kind, rounds, seed) for kind in KINDS]


def overall(kinds: Sequence[Precision]) -> Precision:
    """All kinds together."""
    parts = ("tenants", "suggested", "right", "needed", "found")
    return Precision(kind="all", **{part: sum(getattr(kind, part) for kind in kinds) for part in parts})


def _of_kind(policy: Policy, kind: str, rounds: int, seed: int) -> Precision:
    chance = random.Random(f"{kind}{seed}")
    suggested = right = needed = found = 0
    for _ in range(rounds):
        tier = chance.choice(["free", "professional"])
        limit = policy.limits_of_tier(tier)["api_calls"].limit
        wanted = [round(day * limit) for day in KINDS[kind](chance)]
        to = _judge(policy, tier, wanted[:PAST], limit, chance.randrange(1, CYCLE))
        future = sum(wanted[PAST:])
        ranks = policy.tiers_by_rank()
        up, down = ranks.index(to) > ranks.index(tier), ranks.index(to) < ranks.index(tier)
        suggested += up or down
        right += (up and future > limit) or (down and future <= policy.limits_of_tier(to)["api_calls"].limit)
        needed += future > limit
        found += up and future > limit
    return Precision(kind=kind, tenants=rounds, suggested=suggested, right=right, needed=needed, found=found)


def _judge(policy: Policy, tier: str, wanted: Sequence[int], limit: int, into_cycle: int) -> str:
    """The tier that is suggested after days of which the last ``into_cycle`` belong to the present cycle."""
    used, refused, current = [], [], 0
    for day, units in enumerate(wanted):
        ago = len(wanted) - day
        if (ago - into_cycle) % CYCLE == 0:
            current = 0
        granted = min(units, limit - current)
        current += granted
        used.append(granted)
        refused.append(units - granted)
    quota = UsageResult(
        allowed=current < limit,
        remaining=limit - current,
        limit=limit,
        current=current,
        resource="api_calls",
        tier=tier,
        resets_at=_NOW + timedelta(days=CYCLE - into_cycle),
    )
    seen = analyse("m", tier, {"api_calls": used}, [quota], _NOW)
    return judge(
        policy, seen, {"api_calls": Refusals.of(refused[-REFUSAL_DAYS:])} if any(refused[-REFUSAL_DAYS:]) else {}
    ).suggested
