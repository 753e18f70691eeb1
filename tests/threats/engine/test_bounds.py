"""Nothing is too deep, too long, too many or too hostile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.threats import MAX_DEPTH, MAX_TEXTS, DetectionEngine, Walk, load_reference, normalise, squash
from gatewright_training.corpus import BENIGN
from gatewright_training.grammar import generate, grammars

from .shapes import HOSTILE

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=25,
)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else []


@given(JSON)
def test_the_walk_sees_every_string(value: Any) -> None:
    """Each once, in any JSON-like value, with a path that starts at the root."""
    walk = Walk(value)
    seen = list(walk)
    assert sorted(t.text for t in seen if not t.is_key) == sorted(_strings(value))
    assert all(t.path.startswith("$") for t in seen)
    assert not walk.truncated


def test_the_walk_is_bounded() -> None:
    """In depth, in number and in length; what was cut is reported."""
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    for value in (deep, ["x"] * (MAX_TEXTS + 1), ["y" * 3_000_000, "z" * 3_000_000]):
        walk = Walk(value)
        list(walk)
        assert walk.truncated


@given(st.text(max_size=300))
def test_normalising_ends_and_is_stable(text: str) -> None:
    """Any text; what is plain stays as it is."""
    normal = normalise(text)
    assert isinstance(squash(normal.text), str)
    if text.isascii() and not set(text) & set("%&\\\x00+"):
        assert normal.text is text


@given(st.text(alphabet="<>'\"()= /abc", min_size=1, max_size=40))
def test_encodings_are_undone(text: str) -> None:
    """Once and twice percent-encoded, as entities, as escapes."""
    from urllib.parse import quote

    if "&" in text or "%" in text or "\\" in text:
        return
    assert normalise(quote(text, safe="")).text == text
    assert normalise(quote(quote(text, safe=""), safe="")).text == text
    assert normalise("".join(f"&#{ord(c)};" for c in text)).text == text
    assert normalise("".join(f"\\u{ord(c):04x}" for c in text)).text == text


@settings(max_examples=200)
@given(JSON)
def test_inspection_never_fails(engine: DetectionEngine, value: Any) -> None:
    """Whatever comes."""
    found = engine.inspect(value)
    assert found.threat_detected is bool(found.findings)
    assert 0.0 <= found.confidence <= 1.0


@pytest.mark.parametrize(
    "value", ["\ud800<script>alert(1)</script>", b"<script>alert(1)</script>", {1: "x"}, {("a",): "b"}]
)
def test_odd_values_are_inspected(engine: DetectionEngine, value: Any) -> None:
    """Lone surrogates, bytes, keys that are no strings."""
    assert engine.inspect(value).threat_detected is ("script" in str(value))


def test_time_grows_with_length_only(engine: DetectionEngine) -> None:
    """16 times the length takes about 16 times as long, for forty hostile shapes (with room for a busy machine)."""
    for shape in HOSTILE:
        short, long = ((shape * (size // len(shape) + 1))[:size] for size in (8_000, 128_000))
        ratio = min(_seconds(engine, long) / max(_seconds(engine, short), 1e-4) for _ in range(3))
        assert ratio < 16 * 5, (shape, ratio)


def _seconds(engine: DetectionEngine, text: str) -> float:
    begin = time.thread_time()
    engine.inspect(text)
    return time.thread_time() - begin


def test_fifty_threads_judge_as_one(engine: DetectionEngine) -> None:
    """The same values, the same findings."""
    values = [row.payload for row in load_reference()[::25]]
    fresh = DetectionEngine.load()
    alone = [engine.inspect(value) for value in values]
    with ThreadPoolExecutor(50) as pool:
        for answers in pool.map(lambda _: [fresh.inspect(value) for value in values], range(50)):
            assert answers == alone


def test_grammars_are_whole() -> None:
    """No symbol is missing, and most of what they make is found."""
    assert [grammar.unknown() for grammar in grammars()] == [set()] * len(grammars())


def test_what_grammars_make_is_found(engine: DetectionEngine) -> None:
    """Attacks, and hardly anything harmless, with a seed that was not trained on."""
    rows = list(generate(200, seed=99))
    attacks, harmless = (
        [payload for category, payload in rows if (category == BENIGN) is kind] for kind in (False, True)
    )
    assert sum(engine.inspect(payload).threat_detected for payload in attacks) / len(attacks) >= 0.95
    assert sum(engine.inspect(payload).threat_detected for payload in harmless) / len(harmless) <= 0.10
