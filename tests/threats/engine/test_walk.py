"""The walk sees every text, with its place, within bounds."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gatewright.threats import Walk, walk as module

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=25,
)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []


@given(VALUES)
def test_every_text_is_seen(value: Any) -> None:
    walk = Walk(value)
    seen = [text.text for text in walk if not text.is_key]
    for text in _texts(value):
        assert text in seen
    assert not walk.truncated


def test_places_are_named() -> None:
    value = {"products": [{"name": "a b"}, {"odd key": "c", "$ne": "d"}], 7: "e", "k" * 80: "f"}
    found = {(text.path, text.text, text.is_key) for text in Walk(value)}
    assert ("$.products[0].name", "a b", False) in found
    assert ("$.products[1]['odd key']", "c", False) in found
    assert ("$.products[1]", "$ne", True) in found
    assert ("$[7]", "e", False) in found
    assert (f"$['{'k' * 64}']", "f", False) in found


def test_the_key_of_a_list_is_that_of_its_items() -> None:
    assert [text.key for text in Walk({"tags": ["x", "y"]})] == ["tags", "tags"]


def test_a_way_to_the_prototype_is_a_text() -> None:
    assert "constructor.prototype" in [text.text for text in Walk({"constructor": {"prototype": {"a": 1}}})]


def test_keys_that_are_no_text_are_read_as_text() -> None:
    """Bytes and tuples may be keys in Python; numbers have nothing to hide."""
    found = [(text.text, text.is_key) for text in Walk({b"<script>": 1, ("' or", 2): 3, 7: "x"})]
    assert found == [("<script>", True), ('("\' or", 2)', True), ("x", False)]


def test_members_of_enums_are_read_by_their_values() -> None:
    """What is stored and sent is the value."""

    class Colour(Enum):
        RED = "r'ed"

    assert [text.text for text in Walk({"colour": Colour.RED})] == ["r'ed"]


def test_other_objects_are_read_as_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "<script>"

    assert [text.text for text in Walk([Odd(), b"caf\xc3\xa9", memoryview(b"x y"), ("t",)])] == [
        "<script>",
        "café",
        "x y",
        "t",
    ]


def test_too_deep_is_told() -> None:
    value: Any = "deep"
    for _ in range(module.MAX_DEPTH + 5):
        value = [value]
    walk = Walk(value)
    assert list(walk) == [] and walk.truncated


def test_too_many_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXTS", 10)
    for value in (["x"] * 20, {f"k{i}": "x" for i in range(20)}, [["x"] * 6, ["y"] * 6]):
        walk = Walk(value)
        assert len(list(walk)) <= 10 and walk.truncated


def test_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHARACTERS", 100)
    walk = Walk(["a" * 60, "b" * 60, "c" * 60])
    assert [len(text.text) for text in walk] == [60, 40] and walk.truncated
