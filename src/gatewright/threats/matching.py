"""Match all rules at once, in linear time: Vectorscan where it has a wheel, RE2 elsewhere, with equal verdicts.

The compiled Vectorscan database is kept on disk under the rules' digest, since compiling takes a second or two
and loading takes milliseconds. Threads never share a scratch.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

import re2

from gatewright.threats.rules import RuleSet


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
    """All rules in one database."""

    def __init__(self, rules: RuleSet) -> None:
        import hyperscan

        self._hyperscan = hyperscan
        self._database = _stored(hyperscan, rules)
        self._local = threading.local()

    def match(self, text: str) -> set[int]:
        found: set[int] = set()
        add = found.add

        def note(number: int, start: int, end: int, flags: int, context: Any) -> None:
            add(number)

        self._database.scan(text.encode("utf-8", "replace"), match_event_handler=note, scratch=self._scratch())
        return found

    def _scratch(self) -> Any:
        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = self._hyperscan.Scratch(self._database)
        return scratch


def _stored(hyperscan: Any, rules: RuleSet) -> Any:
    """The database of these rules: from the disk where a good copy is, else compiled and kept."""
    path = _cache_directory() / f"rules-{hyperscan.__version__}-{rules.digest[:32]}.hsdb"
    with contextlib.suppress(OSError, hyperscan.error):
        return hyperscan.loadb(path.read_bytes(), mode=hyperscan.HS_MODE_BLOCK)
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    flags = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_SINGLEMATCH
    flags |= hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_ALLOWEMPTY
    database.compile(
        expressions=[rule.pattern.encode() for rule in rules.rules],
        ids=list(range(len(rules.rules))),
        flags=[flags] * len(rules.rules),
    )
    with contextlib.suppress(OSError, hyperscan.error):
        _keep(path, hyperscan.dumpb(database))
    return database


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gatewright"


def _keep(path: Path, data: bytes) -> None:
    """Written aside and moved into place, so that nobody reads half a database."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)


class Re2Matcher:
    """All rules in one RE2 set."""

    def __init__(self, rules: RuleSet) -> None:
        options = re2_options()
        self._set = re2.Set.SearchSet(options)
        for rule in rules.rules:
            self._set.Add(rule.pattern)
        self._set.Compile()

    def match(self, text: str) -> set[int]:
        return set(self._set.Match(text) or ())


def re2_options() -> Any:
    """As the rules are meant: without case, the dot matching line ends."""
    options = re2.Options()
    options.case_sensitive = False
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = 256 << 20
    return options
