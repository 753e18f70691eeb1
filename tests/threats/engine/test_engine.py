"""The engine as it ships: what it finds, where, and what it leaves alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gatewright.errors import ConfigurationError
from gatewright.threats import AT_ONCE, CLEAN, MAX_FINDINGS, Correction, DetectionEngine, neighbours
from tests.threats.engine.mutations import FILLER
from tests.threats.engine.samples import ATTACKS, HARMLESS
from tests.threats.engine.test_walk import VALUES

EVERY = [(kind, value) for kind, values in ATTACKS.items() for value in values]
ENGINE = DetectionEngine.load()
PADDING = (FILLER * 7)[:1_024]


@pytest.mark.parametrize(("kind", "value"), EVERY)
def test_attacks_are_found_as_what_they_are(engine: DetectionEngine, kind: str, value: Any) -> None:
    inspection = engine.inspect(value)
    assert inspection.threat_detected
    assert {finding.threat_type for finding in inspection.findings} & neighbours(kind)
    assert 0.5 < inspection.confidence <= 1.0 and 0.0 < inspection.risk_score <= 1.0


@pytest.mark.parametrize("value", HARMLESS)
def test_harmless_values_pass(engine: DetectionEngine, value: Any) -> None:
    assert engine.inspect(value) is CLEAN


def test_a_finding_says_where_and_why(engine: DetectionEngine) -> None:
    value = {"products": [{"name": "chair"}, {"name": "x' UNION SELECT email, password FROM accounts --"}]}
    finding = engine.inspect(value).findings[0]
    assert finding.path == "$.products[1].name" and finding.threat_type == "sql_injection"
    assert finding.detected_patterns and "UNION" in finding.evidence
    assert "$.products[1].name" in finding.threat_details["summary"]
    assert finding.threat_details["references"]


def test_keys_are_looked_at(engine: DetectionEngine) -> None:
    (finding, *_) = engine.inspect({"filter": {"$where": "1"}}).findings
    assert finding.metadata["in_key"] and finding.path == "$.filter"


def test_only_the_types_that_are_asked_for(engine: DetectionEngine) -> None:
    value = ["<script>alert(1)</script>", "' OR '1'='1"]
    found = engine.inspect(value, types=frozenset({"xss"}))
    assert {finding.threat_type for finding in found.findings} == {"xss"}
    assert engine.inspect(value, types=frozenset({"ldap_injection"})) is CLEAN


def test_a_higher_level_finds_no_less(engine: DetectionEngine) -> None:
    values = [value for _, value in EVERY] + HARMLESS + ["order by 1", "a' b", "<b>bold</b>", "$(price)", "x=1;y=2"]
    counts = [sum(engine.inspect(value, level=level).threat_detected for value in values) for level in (1, 2, 3, 4)]
    assert counts == sorted(counts)
    assert engine.inspect("<script>alert(1)</script>", level=99).threat_detected


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_padding_hides_nothing(engine: DetectionEngine, place: str) -> None:
    attack = "' UNION SELECT password FROM users --"
    value = {"before": PADDING + attack, "between": PADDING + attack + PADDING, "after": attack + PADDING}[place]
    assert engine.inspect(value).threat_detected
    assert not engine.inspect(PADDING * 3).threat_detected


def test_many_texts_are_judged_each(engine: DetectionEngine) -> None:
    """Texts are scored in groups; each is found, whatever group it is in."""
    value = [f'It\'s number {i}; "quoted" = {i}' for i in range(AT_ONCE * 2)]
    places = (0, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE - 1)
    for place in places:
        value[place] = f"{place}' OR '1'='1"
    found = {finding.path for finding in engine.inspect(value).findings}
    assert found == {f"$[{place}]" for place in places}


def test_findings_are_bounded(engine: DetectionEngine) -> None:
    found = engine.inspect([f"<script>alert({i})</script>" for i in range(3_000)])
    assert MAX_FINDINGS <= len(found.findings) < MAX_FINDINGS + 4 * AT_ONCE


def test_a_value_that_is_cut_says_so(engine: DetectionEngine) -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    assert engine.inspect(deep).truncated and not engine.inspect(deep).threat_detected
    assert engine.inspect([deep, "' OR '1'='1"]).truncated


@given(VALUES)
@settings(deadline=None)
def test_no_value_breaks_it(value: Any) -> None:
    inspection = ENGINE.inspect(value, level=4)
    assert inspection.threat_detected == bool(inspection.findings)


@given(st.text(st.sampled_from("'\"<>(){}[]$%&|;`\\/.*=-+ \n\r\x00aorx1é＜"), max_size=400))
@settings(deadline=None, max_examples=200)
def test_the_same_value_has_the_same_verdict_alone_and_in_company(text: str) -> None:
    alone = ENGINE.inspect(text)
    company = ENGINE.inspect({"a": "it's; a = b", "b": text, "c": FILLER})
    assert [(f.threat_type, f.confidence) for f in alone.findings] == [
        (f.threat_type, f.confidence) for f in company.findings
    ]


def test_fifty_threads_see_what_one_sees() -> None:
    engine = DetectionEngine.load()
    values = [value for _, value in EVERY] + HARMLESS
    alone = [engine.inspect(value) for value in values]
    results: list[list[Any]] = []
    fresh = DetectionEngine.load()
    threads = [
        threading.Thread(target=lambda: results.append([fresh.inspect(value) for value in values])) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone] * 50


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x00" * 4_096])
def test_without_a_good_model_rules_decide(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    engine = DetectionEngine.load(path)
    assert engine.degraded and engine.base_id == ""
    assert engine.inspect("x' UNION SELECT email, password FROM accounts --").threat_detected
    assert engine.inspect("<script>alert(1)</script>").threat_detected
    assert engine.inspect('It\'s a chair; "oak"') is CLEAN
    assert len(engine.encode("' or 1=1").indices) == 0
    assert engine.with_correction(Correction(np.array([1]), np.array([1.0], np.float32))).degraded


def test_rules_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        DetectionEngine.load(rules_dir=tmp_path)


def test_the_slower_matcher_sees_the_same(engine: DetectionEngine) -> None:
    slow = DetectionEngine.load(matcher="re2")
    for value in [value for _, value in EVERY] + HARMLESS:
        assert slow.inspect(value) == engine.inspect(value)
    assert slow.rule_count == engine.rule_count == len(engine.rules)


def test_a_correction_changes_the_score_by_what_it_says(engine: DetectionEngine) -> None:
    """What learning fits is what the engine adds, for n-grams and for rules, but for the rounding of weights."""
    text = "zorp = 'quux'; frob(\"7\") <- tweak"
    seen = engine.encode(text)
    before = engine.evidence(text)[0].margin
    assert before == pytest.approx(seen.margin, abs=1e-4)
    values = np.full(len(seen.indices), 0.05, np.float32)
    corrected = engine.with_correction(Correction(seen.indices, values))
    after = corrected.evidence(text)[0].margin
    assert before is not None and after == pytest.approx(before + float(seen.values @ values), abs=5e-3)
    assert corrected.encode(text).margin == seen.margin
    assert corrected.base_id == engine.base_id
    assert engine.with_correction(None).evidence(text)[0].margin == before


def test_a_correction_can_make_a_text_an_attack_and_harmless_again(engine: DetectionEngine) -> None:
    text = "zorp = 'quux'; frob(\"7\") <- tweak"
    assert not engine.inspect(text).threat_detected
    seen = engine.encode(text)
    push = (15.0 * seen.values / float(seen.values @ seen.values)).astype(np.float32)
    taught = engine.with_correction(Correction(seen.indices, push))
    finding = taught.inspect(text).findings[0]
    assert finding.detected_patterns == ["model"] and "resembles" in finding.threat_details["summary"]
    assert not taught.with_correction(None).inspect(text).threat_detected


def test_words_alone_never_need_the_model(engine: DetectionEngine) -> None:
    """The short way for ordinary text: its evidence is as low as can be."""
    (evidence,) = engine.evidence("Solid oak garden chair, 40 x 45 cm (2 pcs)")
    assert evidence.margin == -40.0 and evidence.rank == -1
