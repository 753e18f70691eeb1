"""What the fuzzers ask of the engine: no failure, a whole answer, and time that keeps to the length of the input."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

from gatewright.threats import DetectionEngine, Walk, load_reference, normalise, squash

ALLOWED_SECONDS = 0.05
PER_BYTES = 100_000
"""Of the text as UTF-8. A shorter input has the same 50 ms: it is what a request may cost that counts."""

KEPT = 8
"""Inputs that are kept as the slowest."""

PIECES = (
    "'",
    "[[",
    '"',
    "<",
    ">",
    "%25",
    "%00",
    "&#",
    "\\u00",
    "{{",
    "${",
    "../",
    "/*",
    "*/",
    "--",
    "$ne",
    "__proto__",
    "é",
)


def allowed(data: bytes) -> float:
    """The seconds of processor time that one inspection of ``data`` may take."""
    size = len(data.decode("utf-8", "replace").encode())
    return ALLOWED_SECONDS * max(1.0, size / PER_BYTES)


def values_of(text: str) -> list[Any]:
    """The text, and a structure: the JSON that it is, or else its words and lines as members."""
    try:
        return [text, json.loads(text)]
    except (ValueError, RecursionError):
        return [text, {text[:20]: text.split(" "), "lines": [{line[:40]: [line]} for line in text.splitlines()]}]


def judge(engine: DetectionEngine, data: bytes) -> float:
    """Walk, normalize and inspect; returns the processor seconds of the slowest inspection.

    Raises:
        AssertionError: the answer contradicts itself.
    """
    text = data.decode("utf-8", "replace")
    assert isinstance(squash(normalise(text).text), str)
    slowest = 0.0
    for value in values_of(text):
        assert all(found.path.startswith("$") for found in Walk(value))
        begin = time.thread_time()
        inspection = engine.inspect(value)
        slowest = max(slowest, time.thread_time() - begin)
        assert inspection.threat_detected is bool(inspection.findings)
        assert 0.0 <= inspection.confidence <= 1.0
    return slowest


class Slowest:
    """The inputs that took the largest part of what they may take, kept as files in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kept: dict[Path, float] = {}

    def saw(self, data: bytes, seconds: float) -> None:
        """Keep ``data`` if it is among the slowest."""
        part = seconds / allowed(data)
        if len(self._kept) == KEPT and part <= min(self._kept.values()):
            return
        path = self._directory / f"slow-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        self._kept[path] = max(part, self._kept.get(path, 0.0))
        if len(self._kept) > KEPT:
            least = min(self._kept, key=lambda kept: self._kept[kept])
            del self._kept[least]
            least.unlink()


def alone(engine: DetectionEngine, data: bytes, tries: int = 5) -> float:
    """The seconds that ``data`` takes at best: what another process took at the same time is no fault of Gatewright."""
    return min(judge(engine, data) for _ in range(tries))


def seeds() -> list[bytes]:
    """Attacks and harmless rows that ship with the package."""
    return [
        row.payload.encode() if isinstance(row.payload, str) else json.dumps(row.payload).encode()
        for row in load_reference()
    ]


def mutate(choose: random.Random, data: bytes, other: bytes, longest: int) -> bytes:
    """``data`` cut, repeated, joined with ``other`` and sprinkled with pieces of syntax."""
    changed = bytearray(data)
    for _ in range(choose.randrange(1, 6)):
        place = choose.randrange(len(changed) + 1)
        action = choose.randrange(5)
        if action == 0:
            changed[place:place] = choose.choice(PIECES).encode() * choose.randrange(1, 40)
        elif action == 1:
            changed[place : place + choose.randrange(8)] = b""
        elif action == 2:
            changed[place:place] = choose.randbytes(choose.randrange(1, 8))
        elif action == 3:
            changed += other
        else:
            changed = changed * choose.randrange(1, 20)
        del changed[longest:]
    return bytes(changed)
