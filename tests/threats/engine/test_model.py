"""The model: small, reproducible, never trusted when damaged, and exact about what it scores."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gatewright.errors import ConfigurationError, ValidationError
from gatewright.threats import SHIPPED, Correction, DetectionEngine, LinearModel, load_reference, load_rules
from gatewright_training.corpus import GRAMMAR, Row, carries_attack, grammar_rows, read_corpus, weights_of
from gatewright_training.cross_validation import FOLDS, fold_of, kind_of
from gatewright_training.training import train


def _rows(step: int) -> list[Row]:
    return [
        Row(payload=row.payload, label=row.label, category=row.category, source=row.source)
        for row in load_reference()[::step]
    ]


def test_what_ships_is_small_and_loads() -> None:
    """Under 2 MB, with an id by content."""
    assert SHIPPED.stat().st_size < 2_000_000
    assert len(LinearModel.load().base_id) == 16


def test_same_rows_and_seed_give_the_same_file(tmp_path: Path) -> None:
    """To the bit; and the file works."""
    rules, rows = load_rules(), _rows(8)
    first, second = (train(rows, rules, seed=3, grammar=20) for _ in range(2))
    assert first == second
    (tmp_path / "model").write_bytes(first)
    engine = DetectionEngine.load(tmp_path / "model")
    assert not engine.degraded
    assert engine.inspect("1' union select password from users--").threat_detected
    assert not engine.inspect("two lamps and a shelf").threat_detected


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_without_a_usable_model_rules_alone_decide(tmp_path: Path, content: bytes | None) -> None:
    """``degraded`` says so."""
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        LinearModel.load(path)
    engine = DetectionEngine.load(path)
    assert engine.degraded and engine.base_id == ""
    assert engine.inspect("<script>alert(1)</script>").threat_detected
    assert not engine.inspect("a lamp").threat_detected
    assert engine.encode("x").indices.size == 0


def test_encoding_gives_the_margin_that_decides(engine: DetectionEngine) -> None:
    """What learning sees is what the engine scores, and a correction moves it by exactly its product."""
    text = "1' or 1=1 -- x"
    encoded = engine.encode(text)
    assert (np.diff(encoded.indices) > 0).all()
    evidence = engine.evidence(text)[0]
    assert evidence.margin == pytest.approx(encoded.margin, abs=1e-3)
    correction = Correction(encoded.indices, (encoded.values * np.float32(-2.0)).astype(np.float32))
    corrected = engine.with_correction(correction)
    moved = float(encoded.values @ correction.values)
    assert corrected.evidence(text)[0].margin == pytest.approx(encoded.margin + moved, abs=1e-2)
    assert corrected.encode(text).margin == pytest.approx(encoded.margin)
    assert engine.with_correction(None).evidence(text)[0].margin == evidence.margin


def test_reading_a_corpus(tmp_path: Path) -> None:
    """A file, plain or gzip, or a directory; what is not a row is reported by line."""
    line = msgspec.json.encode({"payload": "x", "label": 0, "category": "benign", "source": "s", "id": "1"}) + b"\n"
    (tmp_path / "a.jsonl").write_bytes(line)
    (tmp_path / "dev.jsonl.gz").write_bytes(gzip.compress(line * 2))
    assert len(read_corpus(tmp_path / "a.jsonl")) == 1
    assert len(read_corpus(tmp_path)) == 2
    (tmp_path / "b.jsonl").write_bytes(b"[]\n")
    for wrong in (tmp_path / "b.jsonl", tmp_path / "none.jsonl"):
        with pytest.raises(ValidationError):
            read_corpus(wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValidationError):
        read_corpus(tmp_path / "empty")


def test_weights_balance_sources_and_sides() -> None:
    """A source of many rows weighs less a row; harmless rows weigh 1 in the mean, attacks as told."""
    rows = [Row(payload="a", label=0, source="big")] * 90 + [Row(payload="b", label=0, source="small")] * 10
    rows += [Row(payload="c", label=1, category="xss", source="x")] * 5
    weights = weights_of(rows, attacks=0.5)
    assert weights[0] < weights[95]
    assert sum(weights[:100]) / 100 == pytest.approx(1.0)
    assert weights[-1] == pytest.approx(0.5)


def test_fragments_teach_nothing() -> None:
    """Remarks and single words in lists of attacks."""
    assert not carries_attack(Row(payload="IE only", label=1, category="xss"))
    assert carries_attack(Row(payload="<svg>", label=1, category="xss"))
    assert carries_attack(Row(payload={"a": 1}, label=1, category="xss"))


def test_no_source_stands_in_two_folds() -> None:
    """Sister sources share one; what is made from grammars is in none."""
    assert fold_of("hard:git-docs") == fold_of("hard:git-shell")
    assert fold_of("synthetic-benign") == fold_of("synthetic-benign:json")
    assert fold_of(GRAMMAR) == -1
    assert all(0 <= fold_of(row.source) < FOLDS for row in load_reference()[:200])
    assert kind_of(Row(payload="x", label=0, source="hard:x")) == "hard"
    assert kind_of(Row(payload={}, label=0, source="x:json")) == "json"


def test_grammar_rows_are_the_same_for_the_same_seed() -> None:
    """And of every category of the corpus."""
    rows = grammar_rows(30, seed=1)
    assert rows == grammar_rows(30, seed=1)
    assert {row.category for row in rows} >= {"sqli", "xss", "lfi", "cmdi", "ldap", "crlf", "ssrf", "rce", "other"}
