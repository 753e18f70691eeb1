"""The labeled corpus: rows of JSON lines, and how much each weighs in training."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from gatewright.errors import ValidationError
from gatewright.records import Record
from gatewright_training.grammar import generate

FILES = ("dev.jsonl.gz", "benign-rich.jsonl.gz")
GRAMMAR = "grammar"
"""The source of rows that grammars make."""

BENIGN = "benign"
"""The category of what is harmless."""

_REMARK = re.compile(r"(?:Exploit )?(?:Name|Description|Tags|Date|Author|Browser|Reference|Title|Label)\s?:\s")
_SIGNS_OF_MARKUP = frozenset("<>=(){}[]&%`\\")

GRAMMAR_ROWS = 600
"""Rows of each category that are made, before repetitions are left out."""


class Row(Record, frozen=True, kw_only=True):
    """One labeled value. ``label`` is 1 for an attack; ``amid`` is the source of the text around a diluted one."""

    payload: Any
    label: int
    category: str = ""
    source: str = ""
    id: str = ""
    amid: str = ""


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
    """Attacks made from grammars, and harmless texts full of signs, the same for the same seed."""
    return [
        Row(payload=payload, label=int(category != BENIGN), category=category, source=GRAMMAR)
        for category, payload in generate(count, seed=seed)
    ]


def carries_attack(row: Row) -> bool:
    """Whether a row labeled as an attack shows one. Attack lists hold remarks and single words too."""
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
