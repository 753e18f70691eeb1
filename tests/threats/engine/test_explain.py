"""Evidence shows the attack and no secret."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gatewright.logs import HIDDEN
from gatewright.threats import EVIDENCE, EXPLAINED, DetectionEngine, LinearModel, columns, heaviest, windows
from gatewright.threats.explain import _alike, _hidden_in, _in_original


def test_the_span_points_at_the_attack(engine: DetectionEngine) -> None:
    text = "a note " * 40 + "<script>alert(1)</script>"
    finding = engine.inspect(text).findings[0]
    span = finding.metadata["spans"][0]
    assert span["in"] == "value" and span["start"] >= 270 and span["rule"] in finding.detected_patterns
    assert "<script>" in finding.evidence and len(finding.evidence) <= EVIDENCE


def test_the_decoded_form_is_shown(engine: DetectionEngine) -> None:
    finding = engine.inspect("%253Cscript%253Ealert(1)%253C/script%253E").findings[0]
    assert finding.metadata["decoded"] == "<script>alert(1)</script>"
    assert {"url", "url_twice"} <= set(finding.metadata["signals"])
    assert finding.metadata["spans"][0]["in"] == "decoded"


def test_what_only_shows_without_comments_is_said_so(engine: DetectionEngine) -> None:
    finding = engine.inspect("1'/**/un/**/ion/**/UNION/**/SELECT/**/password/**/FROM/**/users--").findings[0]
    assert {span["in"] for span in finding.metadata["spans"]} <= {"value", "decoded", "squashed"}


def test_secrets_in_evidence_are_masked(engine: DetectionEngine) -> None:
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWc"
    for text in (f"Bearer {secret} <script>alert(1)</script>", f"%3Cscript%3Ealert(1)%3C/script%3E password={secret}"):
        finding = engine.inspect(text).findings[0]
        assert secret not in repr(finding)


@pytest.mark.parametrize(
    ("before", "secret"),
    [
        ("password%3D", "Hunter2xyz"),
        ("<password>", "Hunter2xyz"),
        ("'pwd': '", "Hunter2xyz"),
        ("Cookie: ", "8f9a0b1c2d3e4f50"),
        ("PHPSESSID=", "8f9a0b1c2d3e4f50"),
        ("aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG"),
        ("", "AKIAIOSFODNN7EXAMPLE"),
        ("card ", "4111 1111 1111 1111"),
        ("", "4111111111111111"),
        ("", "DE89370400440532013000"),
        ("ssn ", "078-05-1120"),
    ],
)
def test_secrets_of_many_forms_are_masked(engine: DetectionEngine, before: str, secret: str) -> None:
    attack = "' UNION SELECT a FROM b -- "
    for text in (f"{before}{secret} {attack}", f"{attack}{before}{secret}"):
        (finding, *_) = engine.inspect(text).findings
        assert secret not in repr(finding)
        assert "UNION SELECT a FROM b" in finding.evidence


@pytest.mark.parametrize("value", [{"password": "{}"}, {"user": {"apiToken": ["{}"]}}, {"cookie": "{}"}])
@pytest.mark.parametrize("text", ["x' UNION SELECT a FROM b --", "x%27 UNION SELECT a FROM b --"])
def test_what_a_secret_is_called_hides_it(engine: DetectionEngine, value: dict[str, Any], text: str) -> None:
    """A good password may well look like an attack."""
    given_ = json.loads(json.dumps(value).replace("{}", text))
    (finding, *_) = engine.inspect(given_).findings
    assert finding.evidence == HIDDEN
    assert "FROM b" not in repr(finding)


def test_a_finding_is_a_sentence_and_references(engine: DetectionEngine) -> None:
    details = engine.inspect({"q": "../../../etc/passwd"}).findings[0].threat_details
    assert details["summary"].startswith("The value at $.q looks like path traversal: ")
    assert all(reference.startswith(("CWE-", "CAPEC-", "CVE-")) for reference in details["references"])


# --- places in the original -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("an oak shelf %3Cscript%3Ealert(1)%3C/script%3E, two boards", "%3Cscript%3Ealert(1)%3C/script%3E"),
        ("see &lt;script&gt;alert(1)&lt;/script&gt; and so on", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a note <script>alert(1)</script> here", "<script>alert(1)</script>"),
    ],
)
def test_a_decoded_span_is_traced_to_the_original(engine: DetectionEngine, text: str, attack: str) -> None:
    begin = text.index(attack)
    spans = {span["rule"]: span for found in engine.inspect(text).findings for span in found.metadata["spans"]}
    place = spans["xss-script-tag"]["original"]
    assert begin <= place["start"] < place["end"] <= begin + len(attack)


@given(st.text(max_size=30), st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=30))
def test_the_original_span_holds_all_that_was_decoded(before: str, encoded: str, plain: str, behind: str) -> None:
    value, form = before + encoded + behind, before + plain + behind
    start, end = _in_original(value, form, len(before), len(before) + len(plain))
    assert start <= len(before) and end <= len(value)
    assert value == form or end >= len(value) - _alike(value, form, behind=True)


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab", max_size=12))
def test_how_much_two_texts_have_in_common(one: str, other: str) -> None:
    size = _alike(one, other)
    assert one[:size] == other[:size] and (size == min(len(one), len(other)) or one[size] != other[size])
    assert _alike(one, other, behind=True) == _alike(one[::-1], other[::-1])


# --- n-grams ----------------------------------------------------------------------------------------------------


def test_the_heaviest_n_grams_are_told(engine: DetectionEngine) -> None:
    for value in ("x' UNION SELECT email, password FROM accounts --", "../../../../etc/passwd", "{{7*7}}"):
        grams = engine.inspect({"q": value}).findings[0].metadata["ngrams"]
        assert 3 <= len(grams) <= 8
        weights = [gram["weight"] for gram in grams]
        assert weights == sorted(weights, reverse=True) and weights[-1] > 0
        shown = re.sub(r"[0-9]", "0", value.lower())
        assert all(gram["text"].strip("⟨⟩") in shown for gram in grams if gram["of"] == "text")


def test_what_n_grams_add_is_the_score() -> None:
    """The reported weights are shares of the model's own score, and each belongs to what it is spelled as."""
    model = LinearModel.load()
    (window,) = windows("1; DROP TABLE users")
    found = columns(window)
    assert float(model.weights_of(found).sum() / len(found) ** 0.5) == pytest.approx(
        model.scores([window])[0], rel=1e-5
    )
    told = heaviest(window, lambda found: np.asarray(model.weights_of(found)), count=4)
    drop = next(gram for gram in told if gram.text == " ta")
    without = windows("1; DROP T_BLE users")
    assert all(gram.text != " ta" for gram in heaviest(without[0], model.weights_of, count=40))
    assert 0 < drop.weight < model.scores([window])[0]


@given(st.binary(max_size=120), st.integers(1, 12))
def test_any_window_can_be_spelled(window: bytes, count: int) -> None:
    told = heaviest(window.lower(), lambda found: np.ones(len(found), np.float32), count=count)
    assert len(told) <= count
    shapes = [gram.text.strip("⟨⟩") for gram in told if gram.of == "shape"]
    assert not any(re.search(r"[b-z1-9]|aa|00|  ", shape) for shape in shapes)


@pytest.mark.parametrize("secret", ["hunter2horse", "gravel-otter-9"])
def test_no_n_gram_spells_a_secret(engine: DetectionEngine, secret: str) -> None:
    for text in (
        f"<script>alert(1)</script> password={secret} <b>x</b>",
        f"%3Cscript%3Ealert(1)%3C/script%3E password={secret}",
        f"{'ı İ ' * 5}<script>alert(1)</script> password={secret}",
    ):
        for finding in engine.inspect(text).findings:
            told = "".join(gram["text"] for gram in finding.metadata["ngrams"])
            pieces = {secret[at : at + 3] for at in range(len(secret) - 2)}
            assert finding.metadata["ngrams"] and not any(piece in told for piece in pieces)


def test_every_byte_of_a_secret_is_hidden_in_its_window() -> None:
    text = "x" * 2_000 + " é password=Hunter2horse; select"
    for window in windows(text):
        hidden = _hidden_in(text, window)
        at = window.find(b"hunter2horse")
        assert at < 0 or all(hidden[at : at + len("hunter2horse")])
    assert not any(_hidden_in("nothing to hide", b"nothing to hide"))


def test_rules_alone_give_no_n_grams() -> None:
    alone = DetectionEngine.load(model_path="/nowhere")
    assert alone.inspect("<script>alert(1)</script>").findings[0].metadata["ngrams"] == []


def test_where_there_are_too_many_findings_to_read_n_grams_are_left_out(engine: DetectionEngine) -> None:
    values: list[Any] = [f"<script>alert({number})</script>" for number in range(60)]
    findings = engine.inspect(values).findings
    spelled = sum(bool(finding.metadata["ngrams"]) for finding in findings)
    assert EXPLAINED <= spelled < len(findings)


def test_types_that_are_not_asked_for_are_not_explained(engine: DetectionEngine) -> None:
    assert not engine.inspect("<script>alert(1)</script>", types=frozenset({"ssrf"})).findings
