"""The regression gate: a candidate must not do worse than the base on the replay set.

Two disjoint samples of the training corpus ship with the package: the *replay*, fitted together with what people say,
and the *guard*, which evaluates the result and is never trained on. Only rows of sources whose license lets them be
passed on without conditions on what is built with them are taken.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, Self

import msgspec

from gatewright.records import Record
from gatewright.threats.learning.fit import Correction, Encoded
from gatewright.threats.results import Inspection

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
    """One labeled value: ``part`` is ``guard`` or ``replay``, ``category`` that of the corpus."""

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


NEW_FALSE_ALARMS = 0.0005
"""Share of the guard's harmless rows by which false alarms may grow: new ones less those that are gone."""

CHANGED = 3.0
"""So many times what may be the balance may change for the worse, whatever changed for the better."""

NEW_ALARMS_IN_TRAFFIC = 0.005
"""Share of recent traffic that a candidate may flag and the detector in use does not."""

ENOUGH_TRAFFIC = 200


class AllowedLoss(NamedTuple):
    """Shares of the guard's attacks, in all and within one category, by which those that are found may shrink."""

    lost: float
    lost_in_category: float


TAUGHT_ATTACKS = AllowedLoss(0.01, 0.03)
"""Where all statements are of attacks: what is lost is a side effect that cannot be targeted."""

TAUGHT_HARMLESS = AllowedLoss(0.004, 0.02)
"""Where text is called harmless. The base model was trained on the guard, so that it holds those attacks more firmly
than others: of attacks that it never saw two to four times as many are lost."""


class Verdicts(NamedTuple):
    """For each row of the guard, whether it was flagged."""

    flagged: tuple[bool, ...]


def judge(detector: Learnable, rows: Sequence[ReferenceRow]) -> Verdicts:
    """Inspect every row as block mode with default settings would."""
    return Verdicts(tuple(detector.inspect(row.payload).threat_detected for row in rows))


def objection(rows: Sequence[ReferenceRow], base: Verdicts, candidate: Verdicts, bounds: AllowedLoss) -> str:
    """Why the candidate is refused; empty when it is not. One row, where a share is less, is never too much."""
    attacks = Counter(row.category for row in rows if row.label)
    harmless = len(rows) - attacks.total()
    raised = _changed(rows, base, candidate, label=0, to=True).total()
    gone = _changed(rows, base, candidate, label=0, to=False).total()
    if _too_many(raised, gone, NEW_FALSE_ALARMS * harmless):
        return f"it flags {raised} of {harmless} harmless guard rows that the base model passes"
    lost = _changed(rows, base, candidate, label=1, to=False)
    found = _changed(rows, base, candidate, label=1, to=True)
    if _too_many(lost.total(), found.total(), bounds.lost * attacks.total()):
        return f"it misses {lost.total()} of {attacks.total()} guard attacks that the base model finds"
    for category, count in lost.items():
        if _too_many(count, found[category], bounds.lost_in_category * attacks[category]):
            return f"it misses {count} of {attacks[category]} guard attacks of category {category}"
    return ""


def _too_many(worse: int, better: int, allowed: float) -> bool:
    allowed = max(1.0, allowed)
    return worse - better > allowed or worse > CHANGED * allowed


def rates(rows: Sequence[ReferenceRow], verdicts: Verdicts) -> dict[str, float]:
    """Recall and false positives on the guard, 0 to 1."""
    hits = Counter(row.label for row, flagged in zip(rows, verdicts.flagged, strict=True) if flagged)
    total = Counter(row.label for row in rows)
    return {
        "guard_recall": round(hits[1] / max(1, total[1]), 5),
        "guard_fpr": round(hits[0] / max(1, total[0]), 5),
    }


def shadow_objection(current: Learnable, candidate: Learnable, traffic: Iterable[Any]) -> tuple[str, dict[str, float]]:
    """Compare both on recent traffic; the candidate's verdicts have no effect.

    Returns:
        why the candidate is refused (empty when it is not), and what was seen.
    """
    seen = raised = dropped = 0
    for value in traffic:
        before, after = current.inspect(value).threat_detected, candidate.inspect(value).threat_detected
        seen += 1
        raised += after and not before
        dropped += before and not after
    metrics = {"shadow_rows": float(seen), "shadow_newly_flagged": float(raised), "shadow_no_longer": float(dropped)}
    if seen >= ENOUGH_TRAFFIC and raised > NEW_ALARMS_IN_TRAFFIC * seen:
        return f"it flags {raised} of the last {seen} values of live traffic that pass now", metrics
    return "", metrics


def _changed(
    rows: Sequence[ReferenceRow], base: Verdicts, candidate: Verdicts, *, label: int, to: bool
) -> Counter[str]:
    return Counter(
        row.category
        for row, before, after in zip(rows, base.flagged, candidate.flagged, strict=True)
        if row.label == label and before is not to and after is to
    )


class Learnable(Protocol):
    """A detector over a frozen linear model that takes a correction."""

    @property
    def base_id(self) -> str:
        """Names the base model by its content; empty where rules alone decide."""
        ...

    def encode(self, text: str) -> Encoded:
        """The text as the model sees it, with the base's score, the correction left out."""
        ...

    def with_correction(self, correction: Correction | None) -> Self:
        """The same detector, rules shared, under another correction; this one stays as it is."""
        ...

    def inspect(self, data: Any, *, level: int = 1) -> Inspection:
        """Return the verdict on a value."""
        ...
