"""What is lost of the recall when attacks are padded, re-encoded or written otherwise; one line a mutation.

The mutations are those of ``tests/threats/engine/mutations.py``. Attacks are texts of the corpus, at most 600 a
category, or, without a corpus, those that ship with the package; the model has seen most of them unchanged, so what
counts is the difference. It is informed over all attacks, each category counting as the corpus has it, and as the mean
of the categories. Writes ``reports/mutations.json``. Run: ``python -m bench.mutations [CORPUS]``.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from tests.threats.engine.mutations import ANYWHERE, OF_SQL, Mutation

from bench.detector_report import CORPUS
from gatewright.threats import DetectionEngine, load_reference
from gatewright_training.corpus import Row, carries_attack, read_corpus

REPORT = Path("reports/mutations.json")
LOST_AT_MOST = 0.03
OF_A_CATEGORY = 600
SEED = 11


class Category(NamedTuple):
    """Attacks of one category, and how many the corpus has of it."""

    texts: list[str]
    in_corpus: int


Attacks = dict[str, Category]


def main(corpus: Path) -> int:
    """Mutate, inspect, print; 1 where more than three points are lost over all attacks."""
    attacks = _attacks(corpus)
    engine = DetectionEngine.load()
    before = _recall(engine, attacks, _unchanged)
    rows = sum(len(category.texts) for category in attacks.values())
    print(f"{rows:,} attacks of {len(attacks)} categories; unchanged, {_overall(attacks, before):.2%} are found\n")
    print("| mutation | recall | points lost | mean of categories | points lost | lost most in |")
    print("|---|---|---|---|---|---|", flush=True)
    figures = [_figure(engine, attacks, before, mutation) for mutation in ANYWHERE]
    figures += [_figure(engine, {"sqli": attacks["sqli"]}, before, mutation) for mutation in OF_SQL]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"attacks": rows, "recall": before, "mutations": figures}, indent=2) + "\n")
    return 1 if any(figure["lost"] > LOST_AT_MOST for figure in figures) else 0


def _attacks(corpus: Path) -> Attacks:
    source = read_corpus(corpus) if corpus.exists() else load_reference()
    rows = [Row(payload=row.payload, label=row.label, category=row.category) for row in source]
    choose = random.Random(SEED)
    texts: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.label and isinstance(row.payload, str) and carries_attack(row):
            texts[row.category].append(row.payload)
    return {
        name: Category(choose.sample(own, min(len(own), OF_A_CATEGORY)), len(own))
        for name, own in sorted(texts.items())
    }


def _figure(engine: DetectionEngine, attacks: Attacks, before: dict[str, float], mutation: Mutation) -> dict[str, Any]:
    after = _recall(engine, attacks, mutation)
    lost = {name: before[name] - after[name] for name in attacks}
    worst = max(lost, key=lambda name: lost[name])
    mean = sum(after.values()) / len(after)
    mean_lost = sum(lost.values()) / len(lost)
    recall, all_lost = _overall(attacks, after), _overall(attacks, lost)
    print(
        f"| {mutation.__name__} | {recall:.2%} | {100 * all_lost:.2f} | {mean:.2%} | {100 * mean_lost:.2f} "
        f"| {worst} {100 * lost[worst]:.1f} |",
        flush=True,
    )
    return {
        "mutation": mutation.__name__,
        "recall": recall,
        "lost": all_lost,
        "mean_of_categories": mean,
        "mean_lost": mean_lost,
        "lost_by_category": lost,
    }


def _recall(engine: DetectionEngine, attacks: Attacks, mutation: Mutation) -> dict[str, float]:
    """The share of each category that is found."""
    choose = random.Random(SEED)
    return {
        name: sum(engine.inspect(mutation(text, choose)).threat_detected for text in category.texts)
        / len(category.texts)
        for name, category in attacks.items()
    }


def _overall(attacks: Attacks, shares: dict[str, float]) -> float:
    """Over all attacks, each category weighing what the corpus has of it."""
    return sum(attacks[name].in_corpus * shares[name] for name in attacks) / sum(
        own.in_corpus for own in attacks.values()
    )


def _unchanged(text: str, _: random.Random) -> str:
    return text


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS))
