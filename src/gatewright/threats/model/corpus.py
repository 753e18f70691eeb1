"""The labelled corpus: rows of JSON lines, and how much each weighs in training."""

from __future__ import annotations

import gzip
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gatewright.errors import ValidationError
from gatewright.records import Record
from gatewright.threats.grammar import generate

FILES = ("dev.jsonl.gz", "benign-rich.jsonl.gz")
GRAMMAR = "grammar"
"""The source of rows that grammars make."""

PADDED_ROWS = 1_500
"""Rows of each category that are padded with harmless text."""

PROSE_SOURCES = frozenset({"gsm8k", "uci-reviews", "tldr-prose"})
"""What attacks are padded with: English alone, or a language of few harmless rows would look like an attack."""

PADDED_LENGTH = 300
"""Characters of a padded row: one window."""

_REMARK = re.compile(r"(?:Exploit )?(?:Name|Description|Tags|Date|Author|Browser|Reference|Title|Label)\s?:\s")
_SIGNS_OF_MARKUP = frozenset("<>=(){}[]&%`\\")

GRAMMAR_ROWS = 600
"""Rows of each category that are made, before repetitions are left out."""


class Row(Record, frozen=True, kw_only=True):
    """One labelled value. ``label`` is 1 for an attack."""

    payload: Any
    label: int
    category: str = ""
    source: str = ""
    id: str = ""


def read_corpus(path: str | Path) -> list[Row]:
    """Every row of a file, or of the corpus' files in a directory.

    Raises:
        ValidationError: there is none, or a line is no row.
    """
    place = Path(path)
    files = [place / name for name in FILES if (place / name).exists()] if place.is_dir() else [place]
    rows = [row for file in files for row in _read(file)]
    if not rows:
        raise ValidationError(f"{place}: no rows; name a file of JSON lines, or a directory with {' or '.join(FILES)}.")
    return rows


def _read(file: Path) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(Row)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise ValidationError(f"{file}:{number}: not a labelled row: {error}.") from None
    except OSError as error:
        raise ValidationError(f"{file}: cannot be read ({error.strerror or error}).") from None


def grammar_rows(count: int = GRAMMAR_ROWS, *, seed: int = 7) -> list[Row]:
    """Attacks made from grammars, the same for the same seed."""
    return [
        Row(payload=payload, label=1, category=category, source=GRAMMAR)
        for category, payload in generate(count, seed=seed)
    ]


def padded_rows(rows: Sequence[Row], *, seed: int = 7) -> list[Row]:
    """Attacks with harmless prose of other rows before or behind them, each under its own category and source.

    Padding hides an attack from a model that never saw any.
    """
    choose = random.Random(f"{seed}:padding")  # noqa: S311 - data for training, no secret
    prose = [row.payload for row in rows if row.source in PROSE_SOURCES and _is_prose(row.payload)]
    attacks = [row for row in rows if row.label and isinstance(row.payload, str) and carries_attack(row)]
    choose.shuffle(attacks)
    taken: Counter[str] = Counter()
    made = []
    for row in attacks:
        room = PADDED_LENGTH - len(row.payload)
        if not prose or room < 60 or taken[row.category] >= PADDED_ROWS:
            continue
        taken[row.category] += 1
        filler = " ".join(choose.choice(prose) for _ in range(3))[: choose.randrange(40, room)]
        before = choose.randrange(3)
        cut = (0, len(filler) // 2, len(filler))[before]
        text = f"{filler[:cut]} {row.payload} {filler[cut:]}".strip()
        made.append(Row(payload=text, label=1, category=row.category, source=row.source))
    return made


def _is_prose(payload: Any) -> bool:
    return isinstance(payload, str) and len(payload) > 40 and payload.replace(" ", "").rstrip(".!?").isalpha()


def carries_attack(row: Row) -> bool:
    """Whether a row labelled as an attack shows one. Attack lists hold remarks and single words too."""
    if not isinstance(row.payload, str):
        return True
    text = row.payload.strip()
    if len(text) < 3 or _REMARK.match(text):
        return False
    return row.category != "xss" or bool(set(text) & _SIGNS_OF_MARKUP) or "script:" in text.lower()


def weights_of(rows: Iterable[Row], *, attacks: float = 0.6) -> list[float]:
    """A weight a row: many rows of one kind and source weigh like fewer, attacks together ``attacks`` of harmless."""
    listed = list(rows)
    counts = Counter((row.category, row.source) for row in listed)
    raw = [counts[row.category, row.source] ** -0.5 for row in listed]
    means = {}
    for label in (0, 1):
        own = [weight for weight, row in zip(raw, listed, strict=True) if row.label == label]
        means[label] = sum(own) / len(own) if own else 1.0
    return [
        weight / means[row.label] * (attacks if row.label else 1.0) for weight, row in zip(raw, listed, strict=True)
    ]
