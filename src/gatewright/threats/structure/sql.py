"""SQL and MongoDB structure: attacks recognized by their fingerprint.

``$where`` in a sentence, in a string or as a value does nothing. As a key it does, wherever the object is: whole
JSON, relaxed JSON without quotes, or a piece that continues an object the application began.

A value is bare, between single or between double quotes. Read from each of these places it becomes a short row
of token types. Prose has quotes and the word "or" too; it hardly has an operand, a comparison and an operand behind
a quote that closes a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_OPERATORS = 16_384
"""Characters that are read."""

_NAMES = (
    "ne|gte?|lte?|n?in|eq|regex|where|exists|n?or|and|not|expr|function|jsonschema|elemmatch|mod|accumulator|lookup|"
    "type|size|all|text|comment|geowithin|near|slice|rand|sample_?rate|options"
)
_KEY = re.compile(rf"[{{,]\s*(['\"]?)\$(?:{_NAMES})\1\s*:|^\s*\$(?:where|expr|function)\s*:", re.IGNORECASE)
_FIELD = re.compile(rf"\[\s*['\"]?\$(?:{_NAMES})['\"]?\s*\](?:\[[^\]]{{0,40}}\]){{0,4}}\s*(?:=|$)", re.IGNORECASE)
_STRING = re.compile(r"'(?:[^'\\]|\\.){0,400}'|\"(?:[^\"\\]|\\.){0,400}\"", re.DOTALL)
_IS_KEY = re.compile(r"\s*:")


def has_operator_key(text: str) -> bool:
    """Whether an operator is as a key or in the brackets of a field's name."""
    text = text[:LONGEST_OPERATORS]
    if _FIELD.search(text):
        return True
    return _KEY.search(_STRING.sub(_without_values, text)) is not None


def _without_values(found: re.Match[str]) -> str:
    """Strings are emptied, but for keys: what a string says is no key."""
    behind = found.string[found.end() : found.end() + 4]
    return found.group() if _IS_KEY.match(behind) else '""'


LONGEST_SQL = 1_024
"""Characters that are read in each place."""

TOKENS = 24
"""Tokens that are read in each place."""

_TOKEN = re.compile(
    r"\s*(?:(?P<c>--[^\n]{0,400}|\#.{0,400}|/\*(?!!).{0,400}?(?:\*/|$))|(?P<skip>/\*!\d*|\*/)|"
    r"(?P<s>'(?:[^'\\]|\\.|''){0,400}(?:'|$)|\"(?:[^\"\\]|\\.|\"\"){0,400}(?:\"|$))|"
    r"(?P<d>0x[0-9a-f]+|\d+(?:\.\d+)?(?:e\d+)?(?![a-z]))|(?P<v>@@?[\w$]{1,40})|(?P<w>[a-z_$`\[][\w$.\]`]{0,60}|\d\w{0,60})|"
    r"(?P<g>&&|\|\|)|(?P<o><=>|<>|!=|<=|>=|[=<>]|!)|(?P<a>[-+*/%^|&~])|(?P<p>[();,])|(?P<x>.))",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = (
    dict.fromkeys(("and", "or", "xor"), "&")
    | dict.fromkeys(("like", "rlike", "regexp", "is", "between", "in", "sounds"), "o")
    | dict.fromkeys(("mod", "div"), "a")
    | {"not": "", "union": "U", "null": "1", "true": "1", "false": "1"}
    | dict.fromkeys(
        (
            "select insert update delete drop exec execute create alter truncate declare waitfor shutdown merge grant"
        ).split(),
        "E",
    )
    | dict.fromkeys(
        frozenset(("from where order group having limit into procedure as all distinct by offset values set").split()),
        "k",
    )
)

_IN_STRING = re.compile(
    r"s(?:&1(?:[oa&c,;]|$)|&[sfv](?:[oa&c,;s]|$)|&f[1sfvn]|&n[oc]|&[1sfvn]?a*[1sfvn]o|"
    r"o+[1sfvn]?[1sfv](?:[&oc;]|$)|o+[1sfvn]o|o+s|Uk?E|U[ck]|;+E[knf1vE]|;+c$|c$|(?:a+[1fsvn])+(?:o|&|c$)|"
    r"o+a+[1sfv](?:[&oc;s]|$)|a?f[1s]*(?:[oc&]|$)|k+[1fn]?o?[1]*c$|(?:kn)?k1o1)"
)
_BARE = re.compile(
    r"(?:[1v]|n(?=U))(?:&1(?:&1)+c|&(?:a*[1sfv])+o|&a*n?[fs]o|Uk?E|;+E[knf1v]|(?:kn)?k1o1|&f[1s]|o1[&c]|k1c$)|"
    r"f1o1(?:,|$)|n&(?:a*1|f1)o(?:a*1|f1)(?:$|c|&)|E(?:[fv]|a?[1s],|a1?k)"
)


_BEHIND_STRING = frozenset("&oU;cafk")
"""What is behind the string in every attack from between quotes."""

_BEGINS_BARE = frozenset(("1", "v", "f", "E", "nU", "n&"))
"""What every attack from a bare place begins with."""


def is_injected(text: str) -> bool:
    """Whether the text, put where a value is in a statement, changes what the statement says."""
    text = text[:LONGEST_SQL]
    bare = _types(text)
    begin = next(bare, "")
    if begin == "n":
        begin += next(bare, "")
    if begin in _BEGINS_BARE and _BARE.match(begin + "".join(bare)):
        return True
    return any(quote in text and _is_injected_in_string(quote + text) for quote in ("'", '"'))


def _is_injected_in_string(text: str) -> bool:
    # Two tokens tell prose apart, so the rest is read of few texts.
    types = _types(text)
    if next(types, "") != "s":
        return False
    second = next(types, "")
    return second in _BEHIND_STRING and _IN_STRING.match("s" + second + "".join(types)) is not None


def fingerprint(text: str) -> str:
    """The types of the first tokens: s string, 1 number, v variable, f function, n name, & logical, o comparison,
    a arithmetic, U union, E statement, k other keyword, c comment; parentheses go."""
    return "".join(_types(text))


def _types(text: str) -> Iterator[str]:
    place = 0
    for _ in range(TOKENS):
        token = _TOKEN.match(text, place)
        if token is None:
            return
        place = token.end()
        kind = token.lastgroup or ""
        said = token.group(kind)
        if kind == "w":
            word = said.lower()
            found = _WORDS[word] if word in _WORDS else "f" if text.startswith("(", place) else "n"
        elif kind == "p":
            found = "" if said in "()" else said
        elif kind == "c" and said[0] in "-#" and text.startswith("\n", place):
            found = ""  # the statement continues in the next line
        elif kind == "c":
            found = "c" if len(said) <= _SHORT_COMMENT or said.startswith("/*") else "C"
        else:
            found = _TYPES.get(kind, "")
        if found:
            yield found


_TYPES = {"s": "s", "d": "1", "v": "v", "g": "&", "o": "o", "a": "a", "x": "x"}

_SHORT_COMMENT = 8
"""A comment that ends the statement says little; ``'#'`` and dashes in prose have a sentence behind them."""
