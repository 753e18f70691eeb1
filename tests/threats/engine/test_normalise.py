"""Normalizing undoes layers of encoding, and leaves ordinary text alone."""

from __future__ import annotations

import html
import random
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from gatewright.threats import NONE, normalise, squash
from tests.threats.engine import mutations

PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80).filter(
    lambda text: not set(text) & set("%&\\+")
)


@given(PLAIN)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert normalise(text) == (text, NONE)


@given(PLAIN)
def test_one_and_two_layers_of_percent_signs_are_undone(text: str) -> None:
    assert normalise(quote(text)).text == text
    assert normalise(quote(quote(text))).text == text


@given(PLAIN)
def test_entities_and_escapes_are_undone(text: str) -> None:
    assert normalise(html.escape(text)).text == text
    choose = random.Random(0)
    assert normalise(mutations.entities(text, choose)).text == text
    assert normalise(mutations.escapes(text, choose)).text == text


@given(st.text(max_size=200))
def test_any_text_passes(text: str) -> None:
    normal = normalise(text)
    assert isinstance(squash(normal.text), str)
    assert len(normal.text) <= 20 * len(text) + 20


@pytest.mark.parametrize(
    ("text", "plain", "signals"),
    [
        ("%3Cscript%3E", "<script>", {"url"}),
        ("%253Cscript%253E", "<script>", {"url", "url_twice"}),
        ("%u003cscript>", "<script>", {"url", "percent_u"}),
        ("..%c0%af..%c0%afetc", "../../etc", {"overlong"}),
        ("a%20or+1", "a or 1", {"url"}),
        ("union%0aselect+1", "union\nselect 1", {"url"}),
        ("&lt;img&#x20;src&#61;x&gt;", "<img src=x>", {"entity"}),
        ("\\x3cscript\\u003e\\074\\u{3e}", "<script><>", {"escape"}),
        ("＜script＞", "<script>", {"wide"}),
        ("java\x00script:", "javascript:", {"null"}),
        ("%25253C", "<", {"url", "url_twice", "deep"}),
    ],
)
def test_each_encoding_leaves_its_signal(text: str, plain: str, signals: set[str]) -> None:
    normal = normalise(text)
    assert normal.text == plain
    assert signals <= normal.signals


def test_bytes_that_are_no_utf8_are_read_as_latin() -> None:
    assert normalise("%e9%3c").text == "é<"


def test_no_code_point_beyond_unicode() -> None:
    assert normalise("\\u{ffffff}<").text == "<"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("un/**/ion/**/select", "un ion select"),
        ("/*!50000union*/ select", " union select"),
        ("a  \t\n b", "a b"),
        ("'un'||'ion'", "'union'"),
        ("'a' + 'b'", "'ab'"),
        ("cat${IFS}/etc/passwd", "cat /etc/passwd"),
        ("w''hoami", "whoami"),
        ("c^at \\id", "cat id"),
        ("plain text", "plain text"),
    ],
)
def test_squashing_puts_pieces_together(text: str, form: str) -> None:
    assert squash(text).strip() == form.strip()


def test_null_characters_are_taken_out_of_all_of_a_long_text() -> None:
    """Beyond what is decoded too, where they would make an attack look like nothing known; a lone surrogate stays."""
    normal = normalise("\x00" * 300_000 + "<\x00scr\x00ipt>\ud800")
    assert normal.text == "<script>\ud800"
    assert "null" in normal.signals
