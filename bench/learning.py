"""Learning from feedback: what twenty samples of an unknown category teach, and what poisoning does.

For each category a model is trained without it (rows, grammar and reference rows alike; rules stay). Twenty of its
rows are told through ``provide_threat_feedback``, and recall is measured on the rest, false positives on harmless
rows of sources that were not trained on. The eight poisonings are tried on the model that ships.
Prints tables and writes ``reports/learning.json``. Run: ``python -m bench.learning [CORPUS] [--categories ssti ...]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from bench._poisoning import KINDS, poison
from bench.detector_report import CORPUS
from gatewright.clock import SystemClock
from gatewright.events import NullSink
from gatewright.storage.sqlite.store import SqliteStore
from gatewright.threats.engine import DetectionEngine
from gatewright.threats.learning import candidate
from gatewright.threats.learning.learner import Learner
from gatewright.threats.learning.reference import load_reference
from gatewright.threats.matching import Matcher, make_matcher
from gatewright.threats.model.corpus import Row, carries_attack, grammar_rows, read_corpus, weights_of
from gatewright.threats.model.dilution import diluted_rows
from gatewright.threats.model.folds import fold_of
from gatewright.threats.model.linear import LinearModel
from gatewright.threats.model.training import Windows, encode, fit, kind_heads, pack, teaching
from gatewright.threats.rules import RuleSet, load_rules
from gatewright.threats.types import CORPUS_CATEGORIES
from gatewright.threats.validator import ManufacturerSecurityValidator

CATEGORIES = ("ssti", "nosqli", "ldap", "crlf", "ssrf", "xxe", "proto", "rce", "cmdi", "jndi")
REPORT = Path("reports/learning.json")
SEED = 7
SAMPLES = 20
UNSEEN_FOLDS = {8, 9}
"""Folds of harmless sources that no model here is trained on."""

ATTACKS_OF_A_CATEGORY = 2_500
HARMLESS_TRAINED, HARMLESS_JUDGED = 30_000, 8_000
JUDGED_OF_A_CATEGORY, HARMLESS_POISONED = 200, 4_000
FALSE_POSITIVES_UP = 0.001


class Sample(NamedTuple):
    """Rows of the corpus: to train on, and harmless ones to judge only."""

    rows: list[Row]
    unseen: list[Row]


class Data(NamedTuple):
    """Rows to train on, made ones among them, with their windows, and harmless rows to judge only."""

    rows: list[Row]
    cut: Windows
    unseen: list[Row]
    rules: RuleSet
    matcher: Matcher


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path, default=CORPUS)
    parser.add_argument("--categories", nargs="*", choices=CATEGORIES, default=CATEGORIES)
    parser.add_argument("--no-poisoning", action="store_true")
    options = parser.parse_args()
    if not options.corpus.exists():
        print(f"There is no corpus at {options.corpus}: name it, `python -m bench.learning PATH`. Nothing is measured.")
        return 0
    begin = time.time()
    sample = read(options.corpus)
    lifts = _lifts(sample, options.categories) if options.categories else []
    poisonings = [] if options.no_poisoning else asyncio.run(_poisonings(sample))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"seed": SEED, "lifts": lifts, "poisonings": poisonings}, indent=2) + "\n")
    print(f"Made in {time.time() - begin:.0f} s; {REPORT}")
    bad = [one for one in lifts if not one["rolled_back_bit_equal"] or one["fp_after"] > one["fp"] + FALSE_POSITIVES_UP]
    return 1 if bad or any(one["verdict"] == "HARM" for one in poisonings) else 0


def read(corpus: Path) -> Sample:
    """The rows, sampled where a category has many."""
    choose = random.Random(SEED)
    every = read_corpus(corpus)
    rows: list[Row] = []
    for category in sorted({row.category for row in every if row.label}):
        attacks = [row for row in every if row.category == category and carries_attack(row)]
        rows += choose.sample(attacks, min(len(attacks), ATTACKS_OF_A_CATEGORY))
    harmless = [row for row in every if not row.label]
    unseen = [row for row in harmless if fold_of(row.source) in UNSEEN_FOLDS]
    seen = [row for row in harmless if fold_of(row.source) not in UNSEEN_FOLDS]
    rows += choose.sample(seen, min(len(seen), HARMLESS_TRAINED))
    return Sample(rows, choose.sample(unseen, min(len(unseen), HARMLESS_JUDGED)))


def _lifts(sample: Sample, categories: Sequence[str]) -> list[dict[str, Any]]:
    """One line a category."""
    begin = time.time()
    rules = load_rules()
    matcher = make_matcher(rules)
    rows = sample.rows + grammar_rows(seed=SEED)
    rows += diluted_rows(rows, rules, matcher, seed=SEED)
    data = Data(rows, encode(rows, rules, matcher), sample.unseen, rules, matcher)
    print(f"{len(rows):,} rows read after {time.time() - begin:.0f} s", file=sys.stderr)
    print("| withheld | recall of the rest | after 20 samples | false positives | after | version | back bit-equal |")
    print("|---|---|---|---|---|---|---|", flush=True)
    lifts = []
    for category in categories:
        lifts.append(asyncio.run(lift(data, category)))
        print(_lift_line(lifts[-1]), flush=True)
    return lifts


def engine_without(data: Data, category: str) -> DetectionEngine:
    """An engine whose model was trained without the category, through the file format, rounding and all."""
    labels = np.array([row.label for row in data.rows])
    kept = np.array([row.category != category for row in data.rows])
    weights = np.zeros(len(data.rows))
    weights[kept] = weights_of([row for row in data.rows if row.category != category])
    chosen = teaching(data.cut, labels) & kept[data.cut.row]
    coefficients, bias = fit(data.cut, labels, weights, chosen, seed=SEED)
    heads = kind_heads(data.cut, data.rows, labels, chosen)
    model = LinearModel.from_bytes(pack(coefficients, bias, heads, data.rules, rows=int(kept.sum()), seed=SEED))
    return DetectionEngine(data.rules, data.matcher, model)


async def lift(data: Data, category: str) -> dict[str, Any]:
    """Withhold a category, tell twenty of its rows, measure the rest, and take it back."""
    base = engine_without(data, category)
    attacks = _corpus_rows(data, category)
    random.Random(SEED).shuffle(attacks)
    said, rest = attacks[:SAMPLES], attacks[SAMPLES:]
    async with SqliteStore() as store:
        validator = ManufacturerSecurityValidator(engine=base, store=store, processes=0)
        learner = Learner(store, sink=NullSink(), clock=SystemClock(), executor=ThreadPoolExecutor(1))
        async with validator:
            for row in said:
                await validator.provide_threat_feedback(row.payload, CORPUS_CATEGORIES[category], True, actor="analyst")
            with _reference_without(category):
                version = await validator.retrain_ml_models(actor="analyst")
            taught, _ = await learner.detector_in_use(base)
            await validator.rollback_model(0, actor="analyst")
            back, _ = await learner.detector_in_use(base)
    probe = [*rest, *data.unseen[:1_000]]
    return {
        "category": category,
        "rest": len(rest),
        "harmless": len(data.unseen),
        "recall": rate(base, rest),
        "recall_after": rate(taught, rest),
        "fp": rate(base, data.unseen),
        "fp_after": rate(taught, data.unseen),
        "accepted": version.accepted,
        "reason": version.reason,
        "metrics": version.metrics,
        "scores_changed": scores(taught, probe) != scores(base, probe),
        "rolled_back_bit_equal": scores(back, probe) == scores(base, probe),
    }


@contextmanager
def _reference_without(category: str) -> Iterator[None]:
    """The learner's replay and guard know nothing of the category either."""
    known = tuple(row for row in load_reference() if row.category != category)
    with patch.object(candidate, "load_reference", lambda: known):
        yield


def _corpus_rows(data: Data, category: str) -> list[Row]:
    return [row for row in data.rows if row.category == category and row.id]


def rate(engine: DetectionEngine, rows: Sequence[Row]) -> float:
    """The share that is flagged."""
    return sum(engine.inspect(row.payload).threat_detected for row in rows) / max(1, len(rows))


def scores(engine: DetectionEngine, rows: Sequence[Row]) -> list[tuple[float | None, ...]]:
    """The raw score of every text of every row."""
    return [tuple(evidence.margin for evidence in engine.evidence(row.payload)) for row in rows]


async def _poisonings(sample: Sample) -> list[dict[str, Any]]:
    """The eight on the model that ships; lies and judged rows are different rows."""
    choose = random.Random(SEED)
    attacks = [row for row in sample.rows if row.label]
    choose.shuffle(attacks)
    count: Counter[str] = Counter()
    judged: list[Row] = []
    lies: list[Row] = []
    for row in attacks:
        count[row.category] += 1
        place = judged if count[row.category] % 2 else lies
        if count[row.category] <= 2 * JUDGED_OF_A_CATEGORY:
            place.append(row)
    harmless, told = sample.unseen[:HARMLESS_POISONED], [row for row in sample.rows if not row.label]
    choose.shuffle(told)
    engine = DetectionEngine.load()
    print("\n| poisoning | told | versions | recall | after | worst category | false positives | after | |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    found = []
    for kind in KINDS:
        one = await poison(engine, kind, lies if kind.attacks else told, judged, harmless)
        found.append(one)
        print(
            f"| {one['poisoning']} | {one['told']} ({one['disputed']} disputed) | {one['accepted']} accepted, "
            f"{one['refused']} refused | {one['recall']:.2%} | {one['recall_after']:.2%} | "
            f"{one['worst_category']} {one['worst_loss']:.1%} | {one['fp']:.2%} | {one['fp_after']:.2%} | "
            f"{one['verdict']}, roll-back {'bit-equal' if one['rolled_back_bit_equal'] else 'DIFFERS'} |",
            flush=True,
        )
    return found


def _lift_line(one: dict[str, Any]) -> str:
    version = "accepted" if one["accepted"] else one["reason"]
    equal = "yes" if one["rolled_back_bit_equal"] else "NO"
    return (
        f"| {one['category']} ({one['rest']}) | {one['recall']:.1%} | {one['recall_after']:.1%} | {one['fp']:.2%} "
        f"| {one['fp_after']:.2%} | {version} | {equal} |"
    )


if __name__ == "__main__":
    sys.exit(main())
