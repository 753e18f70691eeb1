"""The reference rows: what learning must not unlearn.

Two disjoint samples of the training corpus ship with the package: the *replay*, fitted together with what people
say, and the *guard*, which judges the result and is never fitted. Only rows of sources whose licence lets them be
passed on without conditions on what is built with them are taken.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import msgspec

from gatewright.records import Record

RESOURCE = "reference.jsonl.gz"
MAX_ROW_LENGTH = 1_500

_ATTACKS_PER_CATEGORY = 240
_HARMLESS = {"plain": 3_300, "json": 1_500, "hard": 8_000}
_PER_SOURCE = 700
_GUARD_TENTHS = 5
_FREE_SOURCES = frozenset(
    {"bestbuy-open-data", "blns", "gsm8k", "libinjection", "payloadbox", "payloadsallthethings", "saleor-products"}
    | {"synthetic-attacks", "synthetic-benign", "synthetic-benign:json"}
    | {"oscar-catalogue", "oscar-products:json", "oscar-translations", "solidus-strings", "octokit-webhooks:json"}
    | {"schemastore-descriptions", "schemastore-schemas:json", "paypal-descriptions", "paypal-openapi:json"}
    | {"hard:sqlalchemy-docs", "hard:sqlalchemy-code", "hard:laravel-docs", "hard:mdn-learning-html"}
    | {"hard:ohmyzsh-readmes", "hard:solidus-code", "hard:solidus-changelog", "hard:oscar-templates"}
    | {"hard:schemastore-ci-yaml", "hard:schemastore-configs:json", "hard:k8s-yaml", "hard:k8s-manifests:json"}
    | {"hard:cloudformation:json", "hard:cloudformation-yaml", "hard:regexes", "hard:cloudevents-docs"}
)
"""MIT, BSD, Apache 2.0, CC0, or our own."""


class ReferenceRow(Record, frozen=True, kw_only=True):
    """One labelled value: ``part`` is ``guard`` or ``replay``, ``category`` that of the corpus."""

    part: str
    label: int
    category: str
    source: str
    payload: Any


@lru_cache(maxsize=1)
def load_reference() -> tuple[ReferenceRow, ...]:
    """The rows that ship with the package."""
    with resources.files("gatewright.threats.learning").joinpath(RESOURCE).open("rb") as file:
        return tuple(_read(file, ReferenceRow))


def read_corpus(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a corpus file (``.jsonl`` or ``.jsonl.gz``), one by one."""
    with path.open("rb") as file:
        yield from _read(file, dict[str, Any])


def write_reference(corpus: Iterable[Path], target: Path) -> Counter[str]:
    """Choose reference rows from corpus files and write them; the same files give the same bytes.

    Returns:
        how many rows of each category were taken.
    """
    rows = sorted(
        (row for path in corpus for row in read_corpus(path) if row["source"] in _FREE_SOURCES),
        key=lambda row: _order(row["id"]),
    )
    kept = list(_choose(rows))
    encoded = b"".join(msgspec.json.encode(row) + b"\n" for row in kept)
    target.write_bytes(gzip.compress(encoded, 9, mtime=0))
    return Counter(row.category for row in kept)


def _choose(rows: Iterable[dict[str, Any]]) -> Iterator[ReferenceRow]:
    taken: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    for row in rows:
        if len(msgspec.json.encode(row["payload"])) > MAX_ROW_LENGTH:
            continue
        kind = row["category"] if row["label"] else _kind_of_harmless(row)
        limit = _ATTACKS_PER_CATEGORY if row["label"] else _HARMLESS[kind]
        if taken[kind] >= limit or (not row["label"] and by_source[row["source"]] >= _PER_SOURCE):
            continue
        taken[kind] += 1
        by_source[row["source"]] += 1
        part = "guard" if taken[kind] % 10 < _GUARD_TENTHS else "replay"
        yield ReferenceRow(
            part=part, label=row["label"], category=row["category"], source=row["source"], payload=row["payload"]
        )


def _kind_of_harmless(row: dict[str, Any]) -> str:
    if row["source"].startswith("hard:"):
        return "hard"
    return "plain" if isinstance(row["payload"], str) else "json"


def _order(row_id: str) -> str:
    return hashlib.sha256(f"reference:{row_id}".encode()).hexdigest()


def _read(file: IO[bytes], row_type: Any) -> Iterator[Any]:
    decoder = msgspec.json.Decoder(row_type)
    if file.read(2) != b"\x1f\x8b":  # the mark of gzip (RFC 1952)
        file.seek(0)
        yield from map(decoder.decode, file)
        return
    file.seek(0)
    with gzip.open(file) as lines:
        yield from map(decoder.decode, lines)
