"""The reference rows: what ships is sound, and the choice is the same each time."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import msgspec

from gatewright.threats import CORPUS_CATEGORIES, MAX_ROW_LENGTH, load_reference, write_reference
from gatewright.threats.learning.regression_gate import read_corpus


def test_what_ships() -> None:
    """Guard and replay are disjoint, and every category is in both."""
    rows = load_reference()
    texts = {part: {msgspec.json.encode(r.payload) for r in rows if r.part == part} for part in ("guard", "replay")}
    assert texts["guard"].isdisjoint(texts["replay"])
    for part in texts:
        assert {r.category for r in rows if r.part == part} == {*CORPUS_CATEGORIES, "benign"}
    assert sum(not r.label for r in rows if r.part == "guard") >= 3_000
    assert max(len(msgspec.json.encode(r.payload)) for r in rows) <= MAX_ROW_LENGTH


def test_the_choice(tmp_path: Path) -> None:
    """Bounded by category and source, nothing long, nothing of a source that may not be passed on."""
    rows = [
        {"payload": f"' or {n}={n}", "label": 1, "category": "sqli", "source": "libinjection", "id": f"a{n}"}
        for n in range(300)
    ]
    rows += [
        {"payload": {"n": n}, "label": 0, "category": "benign", "source": "synthetic-benign:json", "id": f"j{n}"}
        for n in range(50)
    ]
    rows += [{"payload": "x" * 2_000, "label": 0, "category": "benign", "source": "gsm8k", "id": "long"}]
    rows += [{"payload": "x", "label": 0, "category": "benign", "source": "hard:regexes", "id": "hard"}]
    rows += [{"payload": "x", "label": 0, "category": "benign", "source": "ud-german", "id": "not-ours"}]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    plain, packed, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz", tmp_path / "out.gz"
    plain.write_bytes(lines)
    packed.write_bytes(gzip.compress(lines))
    assert list(read_corpus(plain)) == list(read_corpus(packed)) == rows
    assert write_reference([plain], target) == Counter(sqli=240, benign=51)
    first = target.read_bytes()
    write_reference([packed], target)
    assert target.read_bytes() == first
