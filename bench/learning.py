"""Learning from feedback: what twenty samples of an unknown category teach, and what poisoning does.

For each category a model is trained without it (rows, grammar and reference rows alike; rules stay). Twenty of its
rows are informed through ``provide_threat_feedback``, and recall is measured on the rest, false positives on harmless
rows of sources that neither the model nor the learner's reference rows have anything of. The eight poisonings are
tried on the model that ships; no row that is judged is informed or in the reference.
Prints tables, and writes ``reports/learning.json`` after every line of them. Rules, model and reference are read once.
Run: ``python -m bench.learning [CORPUS] [--categories ssti ...]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np

from bench._poisoning import KINDS, poison
from bench.detector_report import CORPUS
from gatewright.clock import SystemClock
from gatewright.events import NullSink
from gatewright.storage import SqliteStore
from gatewright.threats import (
    CORPUS_CATEGORIES,
    DetectionEngine,
    Learner,
    LinearModel,
    ManufacturerSecurityValidator,
    Matcher,
    ReferenceRow,
    RuleSet,
    load_reference,
    load_rules,
    make_matcher,
)
from gatewright.threats.learning import candidate
from gatewright_training.augmentation import diluted_rows
from gatewright_training.corpus import Row, carries_attack, grammar_rows, read_corpus, weights_of
from gatewright_training.cross_validation import fold_of
from gatewright_training.training import Windows, encode, fit, kind_heads, pack, teaching

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
    """Rows of the corpus, to train on, and harmless ones to judge only; and everything else that is on disk."""

    rows: list[Row]
    unseen: list[Row]
    rules: RuleSet
    matcher: Matcher
    shipped: LinearModel
    reference: tuple[ReferenceRow, ...]


class Data(NamedTuple):
    """Rows to train on, made ones among them, with their windows."""

    rows: list[Row]
    cut: Windows
    sample: Sample


class Report:
    """What was measured, on disk after every line."""

    def __init__(self) -> None:
        self._lines: dict[str, list[dict[str, Any]]] = {"poisonings": [], "lifts": []}

    def add(self, table: str, line: dict[str, Any]) -> None:
        """Keep a line of a table."""
        self._lines[table].append(line)
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps({"seed": SEED, **self._lines}, indent=2) + "\n")

    @property
    def bad(self) -> bool:
        """Whether a line misses what is promised."""
        harm = any(one["verdict"] == "HARM" or not one["rolled_back_bit_equal"] for one in self._lines["poisonings"])
        return harm or any(
            not one["rolled_back_bit_equal"] or one["fp_after"] > one["fp"] + FALSE_POSITIVES_UP
            for one in self._lines["lifts"]
        )


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
    report = Report()
    sample = read(options.corpus)
    if not options.no_poisoning:
        asyncio.run(_poisonings(sample, report))
    if options.categories:
        _lifts(sample, options.categories, report)
    print(f"Made in {time.time() - begin:.0f} s; {REPORT}")
    return 1 if report.bad else 0


def read(corpus: Path) -> Sample:
    """The rows, sampled where a category has many."""
    choose = random.Random(SEED)
    every = read_corpus(corpus)
    rows: list[Row] = []
    for category in sorted({row.category for row in every if row.label}):
        attacks = [row for row in every if row.category == category and carries_attack(row)]
        rows += choose.sample(attacks, min(len(attacks), ATTACKS_OF_A_CATEGORY))
    harmless = [row for row in every if not row.label]
    reference = load_reference()
    known = {row.source for row in reference}
    unseen = [row for row in harmless if fold_of(row.source) in UNSEEN_FOLDS and row.source not in known]
    seen = [row for row in harmless if fold_of(row.source) not in UNSEEN_FOLDS]
    rows += choose.sample(seen, min(len(seen), HARMLESS_TRAINED))
    judged = choose.sample(unseen, min(len(unseen), HARMLESS_JUDGED))
    rules = load_rules()
    return Sample(rows, judged, rules, make_matcher(rules), LinearModel.load(), reference)


def _lifts(sample: Sample, categories: Sequence[str], report: Report) -> None:
    """One line a category."""
    begin = time.time()
    rows = sample.rows + grammar_rows(seed=SEED)
    rows += diluted_rows(rows, sample.rules, sample.matcher, seed=SEED)
    data = Data(rows, encode(rows, sample.rules, sample.matcher), sample)
    print(f"{len(rows):,} rows read after {time.time() - begin:.0f} s", file=sys.stderr)
    print("| withheld | recall of the rest | after 20 samples | false positives | after | version | back bit-equal |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for category in categories:
        one = asyncio.run(lift(data, category))
        report.add("lifts", one)
        print(_lift_line(one), flush=True)


def engine_without(data: Data, category: str) -> DetectionEngine:
    """An engine whose model was trained without the category, through the file format, rounding and all."""
    labels = np.array([row.label for row in data.rows])
    kept = np.array([row.category != category for row in data.rows])
    weights = np.zeros(len(data.rows))
    weights[kept] = weights_of([row for row in data.rows if row.category != category])
    chosen = teaching(data.cut, labels) & kept[data.cut.row]
    coefficients, bias = fit(data.cut, labels, weights, chosen, seed=SEED)
    heads = kind_heads(data.cut, data.rows, labels, chosen)
    rules, matcher = data.sample.rules, data.sample.matcher
    model = LinearModel.from_bytes(pack(coefficients, bias, heads, rules, rows=int(kept.sum()), seed=SEED))
    return DetectionEngine(rules, matcher, model)


async def lift(data: Data, category: str) -> dict[str, Any]:
    """Withhold a category, tell twenty of its rows, measure the rest, and take it back."""
    base = engine_without(data, category)
    attacks = _corpus_rows(data, category)
    random.Random(SEED).shuffle(attacks)
    said, rest = attacks[:SAMPLES], attacks[SAMPLES:]
    unseen = data.sample.unseen
    async with SqliteStore() as store:
        validator = ManufacturerSecurityValidator(engine=base, store=store, processes=0)
        learner = Learner(store, sink=NullSink(), clock=SystemClock(), executor=ThreadPoolExecutor(1))
        async with validator:
            for row in said:
                await validator.provide_threat_feedback(row.payload, CORPUS_CATEGORIES[category], True, actor="analyst")
            with _reference(row for row in data.sample.reference if row.category != category):
                version = await validator.retrain_ml_models(actor="analyst")
            taught, _ = await learner.detector_in_use(base)
            await validator.rollback_model(0, actor="analyst")
            back, _ = await learner.detector_in_use(base)
    probe = [*rest, *unseen[:1_000]]
    return {
        "category": category,
        "rest": len(rest),
        "harmless": len(unseen),
        "recall": rate(base, rest),
        "recall_after": rate(taught, rest),
        "fp": rate(base, unseen),
        "fp_after": rate(taught, unseen),
        "accepted": version.accepted,
        "reason": version.reason,
        "metrics": version.metrics,
        "scores_changed": scores(taught, probe) != scores(base, probe),
        "rolled_back_bit_equal": scores(back, probe) == scores(base, probe),
    }


@contextmanager
def _reference(rows: Iterable[ReferenceRow]) -> Iterator[None]:
    """The learner's replay and guard are of these rows."""
    known = tuple(rows)
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


async def _poisonings(sample: Sample, report: Report) -> None:
    """The eight on the model that ships; lies and judged rows are different rows, and not of the reference."""
    judged, lies = _attacks_apart(sample)
    harmless, told = sample.unseen[:HARMLESS_POISONED], [row for row in sample.rows if not row.label]
    random.Random(SEED).shuffle(told)
    engine = DetectionEngine(sample.rules, sample.matcher, sample.shipped)
    print("\n| poisoning | told | versions | recall | after | worst category | false positives | after | |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with _reference(sample.reference):
        for kind in KINDS:
            one = await poison(engine, kind, lies if kind.attacks else told, judged, harmless)
            report.add("poisonings", one)
            print(_poisoning_line(one), flush=True)


def _attacks_apart(sample: Sample) -> tuple[list[Row], list[Row]]:
    """Attacks to judge and others to lie about, none of them in the reference, for some categories made by grammar."""
    known = {msgspec.json.encode(row.payload) for row in sample.reference}
    choose = random.Random(SEED)
    attacks = [row for row in sample.rows if row.label and msgspec.json.encode(row.payload) not in known]
    choose.shuffle(attacks)
    count = Counter(row.category for row in attacks)
    made = [row for row in grammar_rows(seed=SEED + 1) if row.label]
    attacks += [row for row in made if count[row.category] < 2 * JUDGED_OF_A_CATEGORY]
    count.clear()
    judged: list[Row] = []
    lies: list[Row] = []
    for row in attacks:
        count[row.category] += 1
        if count[row.category] <= 2 * JUDGED_OF_A_CATEGORY:
            (judged if count[row.category] % 2 else lies).append(row)
    choose.shuffle(lies)
    return judged, lies


def _poisoning_line(one: dict[str, Any]) -> str:
    return (
        f"| {one['poisoning']} | {one['told']} ({one['disputed']} disputed) | {one['accepted']} accepted, "
        f"{one['refused']} refused | {one['recall']:.2%} | {one['recall_after']:.2%} | "
        f"{one['worst_category']} {one['worst_loss']:.1%} | {one['fp']:.2%} | {one['fp_after']:.2%} | "
        f"{one['verdict']}, roll-back {'bit-equal' if one['rolled_back_bit_equal'] else 'DIFFERS'} |"
    )


def _lift_line(one: dict[str, Any]) -> str:
    version = "accepted" if one["accepted"] else one["reason"]
    equal = "yes" if one["rolled_back_bit_equal"] else "NO"
    return (
        f"| {one['category']} ({one['rest']}) | {one['recall']:.1%} | {one['recall_after']:.1%} | {one['fp']:.2%} "
        f"| {one['fp_after']:.2%} | {version} | {equal} |"
    )


if __name__ == "__main__":
    sys.exit(main())
