"""What a scan has found so far, in bounded memory, and how far it came, in a file that survives it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gatewright.errors import ValidationError
from gatewright.logs import escape_control

TOP_KEPT = 1_000
"""Entries of a top list that are kept; with more, the rarest are dropped and the counts become a lower bound."""
BEGINNING = 1_024
"""Bytes at the beginning of a file by which it is known again."""


class Position(msgspec.Struct, kw_only=True):
    """How far one file was read. ``fingerprint`` is of its first ``sample`` bytes, by which a log is told from its
    successor of the same name, and known again under another name."""

    offset: int = 0
    line: int = 0
    fingerprint: str = ""
    sample: int = 0

    def fits(self, beginning: bytes) -> bool:
        """Whether it is of a file that begins so."""
        return self.sample <= len(beginning) and self.fingerprint == _digest(beginning[: self.sample])

    def learn(self, beginning: bytes) -> None:
        """Know the file by its beginning, of which there is more when it has grown."""
        self.sample = min(len(beginning), BEGINNING)
        self.fingerprint = _digest(beginning[: self.sample])


class Tally(msgspec.Struct, kw_only=True):
    """Everything that is counted; what a scan resumes from."""

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
        """Count one more of ``name``."""
        top[name] = top.get(name, 0) + 1
        if len(top) > TOP_KEPT:
            kept = dict(sorted(top.items(), key=lambda item: -item[1])[: TOP_KEPT // 2])
            top.clear()
            top.update(kept)


def top(counts: dict[str, int], size: int = 10) -> dict[str, int]:
    """The most frequent, in order."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size])


def load(path: Path | None) -> Tally:
    """The tally kept at ``path``, or an empty one.

    Raises:
        ValidationError: the file is no state of a scan.
    """
    if path is None or not path.exists():
        return Tally()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tally)
    except msgspec.DecodeError as error:
        raise ValidationError(
            f"{path}: not the state of a scan ({error}); remove it to start from the beginning."
        ) from None


def save(tally: Tally, path: Path | None) -> None:
    """Replace the state as a whole: after a crash either the old or the new one is there."""
    if path is None:
        return
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(tally))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def positions_of(tally: Tally, beginnings: Mapping[Path, bytes]) -> dict[Path, Position]:
    """Where to go on in files that begin so.

    A file that is new, or was written anew, begins at its beginning. One that was renamed (by rotation, also when it
    was packed then) is known by how it begins and gone on with.
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
