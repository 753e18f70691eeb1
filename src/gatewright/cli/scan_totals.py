"""Totals of a scan, in bounded memory, and its saved state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gatewright.errors import ValidationError
from gatewright.logs import escape_control

TOP_KEPT = 1_000
"""Size of a top list. Beyond it the rarest entries are dropped, and counts become a lower bound."""
BEGINNING = 1_024
"""Bytes at the start of a file that identify it."""


class Position(msgspec.Struct, kw_only=True):
    """The position in a file. ``fingerprint`` hashes its first ``sample`` bytes: it distinguishes a log from its
    successor of the same name, and recognizes it under a new name."""

    offset: int = 0
    line: int = 0
    fingerprint: str = ""
    sample: int = 0

    def fits(self, beginning: bytes) -> bool:
        """Whether the position belongs to a file with this beginning."""
        return self.sample <= len(beginning) and self.fingerprint == _digest(beginning[: self.sample])

    def learn(self, beginning: bytes) -> None:
        """Fingerprint the file again, as it may have grown."""
        self.sample = min(len(beginning), BEGINNING)
        self.fingerprint = _digest(beginning[: self.sample])


class Tally(msgspec.Struct, kw_only=True):
    """All counts of a scan, from which it can be resumed."""

    lines: int = 0
    blocked: int = 0
    let_pass: int = 0
    unreadable: int = 0
    too_long: int = 0
    bytes: int = 0
    report_size: int = 0
    by_threat_type: dict[str, int] = {}
    by_status: dict[str, int] = {}
    clients: dict[str, int] = {}
    paths: dict[str, int] = {}
    files: dict[str, Position] = {}

    def count(self, top: dict[str, int], name: str) -> None:
        """Increment the count of ``name``."""
        top[name] = top.get(name, 0) + 1
        if len(top) > TOP_KEPT:
            kept = dict(sorted(top.items(), key=lambda item: -item[1])[: TOP_KEPT // 2])
            top.clear()
            top.update(kept)


def top(counts: dict[str, int], size: int = 10) -> dict[str, int]:
    """The most frequent entries, in descending order."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size])


def load(path: Path | None) -> Tally:
    """Load the state at ``path``, or an empty one if the file does not exist.

    Raises:
        ValidationError: the file is not the state of a scan.
    """
    if path is None or not path.exists():
        return Tally()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tally)
    except msgspec.DecodeError as error:
        raise ValidationError(f"{path}: not the state of a scan ({error}); remove it to start over.") from None


def save(tally: Tally, path: Path | None) -> None:
    """Write the state atomically: after a crash, either the old or the new one exists."""
    if path is None:
        return
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(tally))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def positions_of(tally: Tally, beginnings: Mapping[Path, bytes]) -> dict[Path, Position]:
    """The position at which to resume each file.

    New and rewritten files start at 0. Rotated files, even if compressed, are recognized by their beginning.
    """
    names = {file: escape_control(str(file.resolve())) for file in beginnings}
    others = {name: position for name, position in tally.files.items() if position.sample}
    stayed = [file for file, name in names.items() if name in others and others[name].fits(beginnings[file])]
    found = {file: others.pop(names[file]) for file in stayed}
    for file, beginning in beginnings.items():
        if file not in found:
            before = next((name for name, position in others.items() if position.fits(beginning)), None)
            found[file] = Position() if before is None else others.pop(before)
        found[file].learn(beginning)
    tally.files = {**others, **{names[file]: position for file, position in found.items()}}
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
