"""sanitize: each context is safe for its place, keeps honest text, and tells what it took out."""

from __future__ import annotations

import csv
import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.errors import ValidationError
from gatewright.threats import sanitise

CONTEXTS = ("html", "text", "filename", "identifier", "csv", "log")


@pytest.mark.parametrize(
    ("context", "given_", "value", "removed"),
    [
        ("html", "<b>bold</b> text", "<b>bold</b> text", []),
        ("html", "AT&T", "AT&amp;T", []),
        ("html", "<b>x</b><script>alert(1)</script>", "<b>x</b>", ["<script>"]),
        (
            "html",
            '<img src="https://a.example/x.png" onerror="x()">',
            '<img src="https://a.example/x.png">',
            ["onerror"],
        ),
        ("html", "?a=1&copy=2&\xa0x", "?a=1&amp;copy=2&amp;&nbsp;x", []),
        ("html", "a&#x202e;b", "ab", ["U+202E"]),
        (
            "html",
            '<a href="java&#x200b;script:alert(1)">x</a>',
            '<a rel="noopener noreferrer nofollow">x</a>',
            ["U+200B", "href"],
        ),
        ("text", "AT&T and 3 < 5", "AT&T and 3 < 5", []),
        ("text", "<p>Hello <b>you</b></p>", "Hello you", ["<p>", "<b>"]),
        ("text", "a&lt;script&gt;x&lt;/script&gt;b", "ab", ["<script>"]),
        ("text", "a\x00b\u202ec\u200bd", "abcd", ["U+0000", "U+202E", "U+200B"]),
        ("text", "e\u200b\u0301", "é", ["U+200B"]),
        ("text", "e</b>\u0301", "é", ["<b>"]),
        ("text", "a<!-- b -->c", "ac", ["comment"]),
        ("text", "&am<b>p;lt;script>x", "", ["<b>", "<script>"]),
        ("text", "pay\u200dpal\u3164", "paypal", ["U+3164", "U+200D"]),
        ("text", "👩\u200d🚀 می\u200cخواهم", "👩\u200d🚀 می\u200cخواهم", []),
        ("text", "line\none\ttab", "line\none\ttab", []),
        ("text", "क्\u200dष", "क्\u200dष", []),
        ("filename", "report 2024.pdf", "report 2024.pdf", []),
        ("filename", "../../etc/passwd", "passwd", ["../", "directory"]),
        ("filename", "..\\..\\boot.ini", "boot.ini", ["../", "/"]),
        ("filename", "%2e%2e%2fshadow", "shadow", ["percent encoding", "../", "/"]),
        ("filename", "nul.txt", "_nul.txt", ["device name"]),
        ("filename", ".htaccess", "htaccess", ["leading or trailing mark"]),
        ("filename", "-.bashrc", "bashrc", ["leading or trailing mark"]),
        ("filename", "a;rm -rf x", "a_rm -rf x", [";"]),
        ("filename", "", "file", []),
        ("filename", "..", "file", ["leading or trailing mark"]),
        ("identifier", "user_id", "user_id", []),
        ("identifier", "users; DROP TABLE x", "users_DROP_TABLE_x", [";", " "]),
        ("identifier", "größe", "gro_e", ["ß"]),
        ("identifier", "1abc", "_1abc", []),
        ("identifier", "a" * 63 + "-b", "a" * 63, ["excess length"]),
        ("identifier", "", "_", []),
        ("csv", "plain text", "plain text", []),
        ("csv", "-12.5", "-12.5", []),
        ("csv", "-1,234.50", "-1,234.50", []),
        ("csv", "'=1+1", "'=1+1", []),
        ("csv", "\u200b=1", "'=1", ["U+200B", "formula '='"]),
        ("csv", "\xa0=1", "'\xa0=1", ["formula '='"]),
        ("csv", "=1+1", "'=1+1", ["formula '='"]),
        ("csv", '  =HYPERLINK("x")', '\'  =HYPERLINK("x")', ["formula '='"]),
        ("csv", "＝1", "'＝1", ["formula '＝'"]),
        ("csv", "@SUM(A1)", "'@SUM(A1)", ["formula '@'"]),
        ("csv", "a\r\n=b", "a =b", ["line break"]),
        ("csv", "\tx", "' x", ["tab", "formula '\\t'"]),
        ("log", "user logged in", "user logged in", []),
        ("log", "a\nfake entry", "a\\nfake entry", ["line break"]),
        ("log", "\x1b[31mred\x1b[0m", "red", ["terminal code"]),
        ("log", "${jndi:ldap://x}", "$ {jndi:ldap://x}", ["${"]),
    ],
)
def test_examples(context: str, given_: str, value: str, removed: list[str]) -> None:
    result = sanitise(given_, context)
    assert (result.value, result.removed) == (value, removed)


@pytest.mark.parametrize(
    "attack",
    [
        "<svg onload=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<iframe src=//evil.example></iframe>",
        "<math><mtext></table></math><img src onerror=alert(1)>",
        "<<script>script>alert(1)<</script>/script>",
        "<img src=x onerror\n=\nalert(1)>",
        "&#60;script&#62;alert(1)&#60;/script&#62;",
        "&amp;lt;script&amp;gt;alert(1)",
    ],
)
@pytest.mark.parametrize("context", ["html", "text"])
def test_no_markup_of_an_attack_is_left(context: str, attack: str) -> None:
    cleaned = sanitise(attack, context).value.lower()
    for bad in ("<script", "<svg", "<iframe", "<img src=x onerror", "javascript:", "onload=", "<math"):
        assert bad not in cleaned


def test_what_nests_too_deep_is_taken_apart() -> None:
    """Entities in entities in entities end as text, never as a tag."""
    text = "<b>"
    for _ in range(9):
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    result = sanitise(text, "text")
    assert "<" not in result.value
    assert "nested entities" in result.removed
    assert sanitise(result.value, "text").value == result.value


@pytest.mark.parametrize("text", ["&" * 300_000, "\xa0" * 300_000, "<3 & " * 60_000])
def test_signs_that_a_parser_is_slow_with(text: str) -> None:
    """A parser that starts again at each of these signs would take minutes."""
    assert sanitise(text, "text").value == text
    assert sanitise(text, "html").value.count("&") >= 60_000


def test_what_was_removed_is_told_in_bounds() -> None:
    removed = sanitise("".join(f"<t{number}>" for number in range(1_000)), "html").removed
    assert removed[:2] == ["<t0>", "<t1>"]
    assert removed[200:] == ["800 more"]


def test_long_names_keep_their_extension() -> None:
    value = sanitise("ü" * 300 + ".pdf", "filename").value
    assert value.endswith(".pdf")
    assert len(value.encode()) <= 255
    assert len(sanitise("x" * 300, "filename").value) == 255
    assert len(sanitise("x" * 300, "identifier").value) == 64
    assert sanitise("x" * 9000, "log").value.endswith("…")


def test_json_values_are_sanitised_all_through() -> None:
    data = {"name": "<b>Acme</b>", "list": ["<i>x</i>", 1, None, 2.5, True], "<u>k</u>": {"deep": "=1"}}
    result = sanitise(data, "text")
    assert result.value == {"name": "Acme", "list": ["x", 1, None, 2.5, True], "k": {"deep": "=1"}}
    assert result.removed == ["<b>", "<i>", "<u>"]


def test_keys_that_become_one() -> None:
    result = sanitise({"<b>a</b>": 1, "a": 2}, "text")
    assert result.value == {"a": 1}
    assert "duplicate key 'a'" in result.removed


def test_refusals() -> None:
    """Unknown contexts, values that are no JSON, and what is over a bound."""
    nested: Any = "x"
    for _ in range(40):
        nested = [nested]
    for value, context in (("x", "sql"), (b"x", "text"), (object(), "text"), ("x" * 1_000_001, "log"), (nested, "csv")):
        with pytest.raises(ValidationError):
            sanitise(value, context)
    with pytest.raises(ValidationError):
        sanitise(["x"] * 10_001, "csv")


@pytest.mark.parametrize("context", CONTEXTS)
@given(text=st.text(max_size=120))
@settings(max_examples=120, deadline=None)
def test_properties(context: str, text: str) -> None:
    """Whatever comes: a string comes back, it is safe for its place, and a second time changes nothing more."""
    value = sanitise(text, context).value
    assert isinstance(value, str)
    if context == "filename":
        assert value not in ("", ".", "..")
        assert not set(value) & set('/\\\0:*?"<>|')
        assert len(value.encode()) <= 255
    elif context == "identifier":
        assert value.isascii()
        assert value.replace("-", "_").isidentifier()
    elif context == "csv":
        out = io.StringIO()
        csv.writer(out).writerow([value])
        assert next(csv.reader(io.StringIO(out.getvalue()))) == [value]
    elif context == "log":
        hidden = {c for c in value if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
        assert hidden <= {"\u200c", "\u200d"}
    assert sanitise(value, context).value == value
