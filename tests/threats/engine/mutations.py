"""What an attacker changes so that a filter no longer sees an attack that still works."""

from __future__ import annotations

import random
from collections.abc import Callable
from urllib.parse import quote

FILLER = (
    "The delivery of 40 oak shelves arrives on Tuesday between nine and noon, please ring twice. "
    "Our warehouse in Lyon keeps spare brackets, and the manual explains how to fit them. "
)

PROSE = FILLER
PADDING = (FILLER * 7)[:1_024] + " "
"""1 KB of harmless text."""

Mutation = Callable[[str, random.Random], str]


def padded_before(text: str, _: random.Random) -> str:
    """1 KB of harmless text first."""
    return PADDING + text


def padded_after(text: str, _: random.Random) -> str:
    """1 KB of harmless text behind."""
    return text + " " + PADDING


def percent_encoded(text: str, _: random.Random) -> str:
    """Every character but letters and digits as %xx."""
    return quote(text, safe="", errors="replace")


def percent_encoded_twice(text: str, _: random.Random) -> str:
    """The same once more."""
    return quote(quote(text, safe="", errors="replace"), safe="")


def entities(text: str, _: random.Random) -> str:
    """The characters of markup as entities."""
    return "".join(f"&#{ord(c)};" if c in "<>\"'()=" else c for c in text)


def escapes(text: str, _: random.Random) -> str:
    """The characters of syntax as escapes of JSON and JavaScript."""
    return "".join(f"\\u{ord(c):04x}" if c in "<>\"'()=&" else c for c in text)


def full_width(text: str, _: random.Random) -> str:
    """Letters and signs as their full-width forms, which databases and frameworks fold back."""
    return "".join(chr(ord(c) + 0xFEE0) if c in "<>'\"()=/" else c for c in text)


def mixed_case(text: str, choose: random.Random) -> str:
    """Upper and lower case by chance; an escape stays what it is."""
    return "".join(c.upper() if choose.random() < 0.5 else c.lower() for c in text)


def sql_comments(text: str, _: random.Random) -> str:
    """Comments for blanks, as SQL has them."""
    return text.replace(" ", "/**/")


def white_space(text: str, choose: random.Random) -> str:
    """Other white space for blanks."""
    return "".join(choose.choice("\t\n ") + " " * choose.randrange(2) if c == " " else c for c in text)


ANYWHERE: tuple[Mutation, ...] = (
    padded_before,
    padded_after,
    percent_encoded,
    percent_encoded_twice,
    entities,
    escapes,
    full_width,
    white_space,
)
"""Those after which any attack may still work."""

OF_SQL: tuple[Mutation, ...] = (sql_comments, mixed_case)
"""Those after which SQL is still the same SQL."""
