"""What a scan has found so far, in bounded memory, and how far it came, in a file that survives it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from gatewright.errors import ValidationError

TOP_KEPT = 1_000
"""Entries of a top list that are kept; with more, the rarest are dropped and the counts become a lower bound."""
_FINGERPRINT = 1_024


class Position(msgspec.Struct, kw_only=True):
    """How far one file was read. ``fingerprint`` is of its beginning, so that a rotated log starts anew."""

    offset: int = 0
    line: int = 0
    fingerprint: str = ""
    sample: int = 0


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


def position_of(tally: Tally, file: Path, beginning: bytes) -> Position:
    """Where to go on in a file that begins so; its beginning when it is new, was rotated or was cut."""
    known = tally.files.get(str(file.resolve()))
    if known is not None and known.fingerprint == _digest(beginning[: known.sample]) and known.sample <= len(beginning):
        if known.sample < min(len(beginning), _FINGERPRINT):  # it has grown: know more of it from now on
            known.sample = min(len(beginning), _FINGERPRINT)
            known.fingerprint = _digest(beginning[: known.sample])
        return known
    sample = min(len(beginning), _FINGERPRINT)
    fresh = Position(sample=sample, fingerprint=_digest(beginning[:sample]))
    tally.files[str(file.resolve())] = fresh
    return fresh


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
