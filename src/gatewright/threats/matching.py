"""Rule matching in linear time by Vectorscan or, where it has no wheel, by RE2, with equal verdicts.

The compiled Vectorscan database is kept on disk under the rules' digest, since compiling takes some seconds and
loading takes milliseconds. Threads never share a scratch.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import re2

from gatewright.threats.rules import RuleSet, refused
from gatewright.threats.structure import Confirmation

PARTS = 2
"""Databases: two compile twice as fast as one, and match as fast."""


class Matcher(Protocol):
    """Tells which rules match a text, by their number in the set."""

    def match(self, text: str) -> set[int]: ...


def make_matcher(rules: RuleSet, *, engine: str | None = None) -> Matcher:
    """The fastest matcher that there is here; ``engine`` names ``vectorscan`` or ``re2``."""
    if engine != "re2":
        try:
            return VectorscanMatcher(rules)
        except ImportError:
            if engine == "vectorscan":
                raise
    return Re2Matcher(rules)


class VectorscanMatcher:
    """All rules in a few databases."""

    def __init__(self, rules: RuleSet) -> None:
        import hyperscan

        size = -(-len(rules.rules) // PARTS)
        starts = range(0, len(rules.rules), size)
        databases = [_stored(hyperscan, rules, range(len(rules.rules))[at : at + size]) for at in starts]
        self._own = _OfThread([(database, hyperscan.Scratch) for database in databases])
        self._confirmed = Confirmation(rule.confirm for rule in rules.rules)

    def match(self, text: str) -> set[int]:
        data = _read(text)
        scans, note, found = self._own.all
        found.clear()
        for scan, scratch in scans:
            scan(data, note, 0, None, scratch)
        return self._confirmed(found.copy(), text) if found else set()


class _OfThread(threading.local):
    """What a thread scans with: made once in each, since a scan takes little longer than making it."""

    def __init__(self, databases: Sequence[tuple[Any, Any]]) -> None:
        scans = [(database.scan, make_scratch(database)) for database, make_scratch in databases]
        found: set[int] = set()
        add = found.add

        def note(number: int, start: int, end: int, flags: int, context: Any) -> None:
            add(number)

        self.all = (scans, note, found)


def _read(text: str) -> bytes:
    """The text as both matchers read it: to one of them a vertical tab is white space, to the other it is not."""
    return text.encode("utf-8", "replace").replace(b"\x0b", b" ")


def _stored(hyperscan: Any, rules: RuleSet, numbers: range) -> Any:
    """A part of the rules, compiled: from the disk where a good copy is, else compiled now and kept."""
    path = _cache_directory() / f"rules-{hyperscan.__version__}-{rules.digest[:32]}-{numbers.start}-{numbers.stop}.hsdb"
    with contextlib.suppress(OSError, hyperscan.error):
        return hyperscan.loadb(path.read_bytes(), mode=hyperscan.HS_MODE_BLOCK)
    flags = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_SINGLEMATCH
    flags |= hyperscan.HS_FLAG_ALLOWEMPTY
    try:
        database = _compiled(hyperscan, rules, numbers, flags)
    except hyperscan.error:
        for number in numbers:
            try:
                _compiled(hyperscan, rules, range(number, number + 1), flags)
            except hyperscan.error as error:
                raise refused(rules.rules[number], error) from None
        raise
    with contextlib.suppress(OSError, hyperscan.error):
        _keep(path, hyperscan.dumpb(database))
    return database


def _compiled(hyperscan: Any, rules: RuleSet, numbers: range, flags: int) -> Any:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[rules.rules[number].pattern.encode() for number in numbers],
        ids=list(numbers),
        flags=[flags] * len(numbers),
    )
    return database


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gatewright"


def _keep(path: Path, data: bytes) -> None:
    """Written to a temporary file and renamed, so that a partial database is never read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)


class Re2Matcher:
    """All rules in one RE2 set."""

    def __init__(self, rules: RuleSet) -> None:
        self._set = re2.Set.SearchSet(re2_options())
        for rule in rules.rules:
            try:
                self._set.Add(rule.pattern.encode())
            except re2.error as error:
                raise refused(rule, error) from None
        self._set.Compile()
        self._confirmed = Confirmation(rule.confirm for rule in rules.rules)

    def match(self, text: str) -> set[int]:
        data = _read(text)
        hits = set(self._set.Match(data) or ())
        if data[-1:] == b"\n":  # to the other matcher a text also ends before its last line end
            hits.update(self._set.Match(data[:-1]) or ())
        return self._confirmed(hits, text)


def re2_options() -> Any:
    """As the rules are meant: over bytes, without case, the dot matching line ends."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = 256 << 20
    return options
