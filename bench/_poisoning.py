"""Eight poisonings of the learner through its public face, and what they did to rows that no one lied about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from gatewright.clock import ManualClock
from gatewright.errors import ValidationError
from gatewright.events import NullSink
from gatewright.storage import SqliteStore
from gatewright.threats import CORPUS_CATEGORIES, DetectionEngine, Learner, ManufacturerSecurityValidator
from gatewright_training.corpus import Row

LIES = 150
DAYS = 6
"""Rounds of a slow poisoning, each followed by learning."""

MANY = 20
"""People in concert: each lie is informed by two of them, since one person alone opens no way for attacks."""

RECALL_LOST, FALSE_POSITIVES_UP = 0.01, 0.001
RECALL_LOST_IN_CATEGORY, ROWS_LOST_IN_CATEGORY = 0.05, 2
"""Beyond these it did harm; some categories have thirty rows to judge."""


class Poisoning(NamedTuple):
    """What is lied about, how fast, by how many."""

    attacks: bool
    slow: bool
    actors: int

    @property
    def name(self) -> str:
        """In words."""
        said = "attacks called harmless" if self.attacks else "harmless text called attacks"
        return f"{said}, {'slow' if self.slow else 'fast'}, {'one actor' if self.actors == 1 else 'many'}"


KINDS = [
    Poisoning(attacks, slow, actors) for attacks in (True, False) for slow in (False, True) for actors in (1, MANY)
]


async def poison(
    base: DetectionEngine, kind: Poisoning, lies: Sequence[Row], attacks: Sequence[Row], harmless: Sequence[Row]
) -> dict[str, Any]:
    """Tell ``lies`` as ``kind`` says, learn, judge ``attacks`` and ``harmless`` before and after, and roll back."""
    clock = ManualClock()
    async with SqliteStore() as store:
        validator = ManufacturerSecurityValidator(engine=base, store=store, clock=clock, processes=0)
        learner = Learner(store, sink=NullSink(), clock=clock, executor=ThreadPoolExecutor(1))
        told, disputed, accepted, reasons = 0, 0, 0, []
        async with validator:
            for batch in [lies[n:LIES:DAYS] for n in range(DAYS)] if kind.slow else [lies[:LIES]]:
                for row in batch:
                    for actor in {told % kind.actors, (told + 1) % kind.actors}:
                        status = await _tell(validator, row, kind, f"actor {actor}")
                    told += bool(status)
                    disputed += status == "disputed"
                version = await validator.retrain_ml_models(actor="poisoner")
                accepted += version.accepted
                reasons += [] if version.accepted else [version.reason]
                clock.advance(days=1)
            after, _ = await learner.detector_in_use(base)
            await validator.rollback_model(0, actor="operator")
            back, _ = await learner.detector_in_use(base)
    return {
        "poisoning": kind.name,
        "told": told,
        "disputed": disputed,
        "accepted": accepted,
        "refused": len(reasons),
        "reasons": reasons,
        **_harm(base, after, attacks, harmless),
        "rolled_back_bit_equal": _scores(back, [*attacks, *harmless]) == _scores(base, [*attacks, *harmless]),
    }


async def _tell(validator: ManufacturerSecurityValidator, row: Row, kind: Poisoning, actor: str) -> str:
    """What became of one lie; empty where there is no text to lie about."""
    threat_type = CORPUS_CATEGORIES.get(row.category, "sql_injection")
    try:
        taken = await validator.provide_threat_feedback(row.payload, threat_type, not kind.attacks, actor=actor)
    except ValidationError:
        return ""
    return taken.status


def _harm(
    base: DetectionEngine, after: DetectionEngine, attacks: Sequence[Row], harmless: Sequence[Row]
) -> dict[str, Any]:
    total = Counter(row.category for row in attacks)
    before_found, after_found = (_found(engine, attacks) for engine in (base, after))
    losses = {name: (before_found[name] - after_found[name]) / total[name] for name in total}
    worst = max(losses, key=lambda name: losses[name])
    recall, recall_after = before_found.total() / len(attacks), after_found.total() / len(attacks)
    false, false_after = (_found(engine, harmless).total() / len(harmless) for engine in (base, after))
    harmed = (
        recall - recall_after > RECALL_LOST
        or any(
            lost > max(ROWS_LOST_IN_CATEGORY / total[name], RECALL_LOST_IN_CATEGORY) for name, lost in losses.items()
        )
        or false_after - false > FALSE_POSITIVES_UP
    )
    return {
        "recall": recall,
        "recall_after": recall_after,
        "worst_category": worst,
        "worst_loss": losses[worst],
        "fp": false,
        "fp_after": false_after,
        "verdict": "HARM" if harmed else "no harm",
    }


def _found(engine: DetectionEngine, rows: Sequence[Row]) -> Counter[str]:
    return Counter(row.category for row in rows if engine.inspect(row.payload).threat_detected)


def _scores(engine: DetectionEngine, rows: Sequence[Row]) -> list[tuple[float | None, ...]]:
    return [tuple(evidence.margin for evidence in engine.evidence(row.payload)) for row in rows[::4]]
