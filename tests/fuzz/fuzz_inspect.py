"""Fuzz walk, normalise and inspect: ``python tests/fuzz/fuzz_inspect.py --seconds 600``.

With atheris the engine's branches guide the search; without it attacks and harmless rows are mutated at random.
A crash, or more than 50 ms of work per 100 KB (and 50 ms more), ends it with exit code 1 and the input.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from typing import Any

from gatewright.threats.engine import DetectionEngine
from gatewright.threats.learning.reference import load_reference
from gatewright.threats.normalise import normalise, squash

ALLOWED_SECONDS = 0.05
PER_BYTES = 100_000
PIECES = ("'", '"', "<", ">", "%25", "%00", "&#", "\\u00", "{{", "${", "../", "/*", "*/", "--", "$ne", "__proto__", "é")


def judge(engine: DetectionEngine, data: bytes) -> None:
    """Inspect bytes as a text, and as JSON where they are some; raises AssertionError when it takes too long."""
    text = data.decode("utf-8", "replace")
    squash(normalise(text).text)
    values: list[Any] = [text]
    try:
        values.append(json.loads(text))
    except (ValueError, RecursionError):
        values.append({text[:20]: [text]})
    for value in values:
        begin = time.thread_time()
        engine.inspect(value)
        spent = time.thread_time() - begin
        assert spent <= ALLOWED_SECONDS * (1 + len(data) / PER_BYTES), f"{spent * 1e3:.0f} ms for {data[:200]!r}"


def mutate(choose: random.Random, seeds: list[bytes]) -> bytes:
    """A seed cut, repeated, joined and sprinkled with pieces of syntax."""
    data = bytearray(choose.choice(seeds))
    for _ in range(choose.randrange(1, 6)):
        place = choose.randrange(len(data) + 1)
        action = choose.randrange(5)
        if action == 0:
            data[place:place] = choose.choice(PIECES).encode() * choose.randrange(1, 40)
        elif action == 1:
            data[place : place + choose.randrange(8)] = b""
        elif action == 2:
            data[place:place] = choose.randbytes(choose.randrange(1, 8))
        elif action == 3:
            data += choose.choice(seeds)
        else:
            data = (data * choose.randrange(1, 20))[: choose.randrange(1, 200_000)]
    return bytes(data)


def run_random(engine: DetectionEngine, seconds: float, seed: int) -> int:
    """Without guidance; returns how many inputs were tried."""
    choose = random.Random(seed)
    seeds = [
        json.dumps(row.payload).encode() if not isinstance(row.payload, str) else row.payload.encode()
        for row in load_reference()
    ]
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        judge(engine, mutate(choose, seeds))
        tried += 1
    return tried


def main() -> int:
    """Parse arguments and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    engine = DetectionEngine.load()
    engine.inspect("warm up")
    try:
        import atheris
    except ImportError:
        print(f"{run_random(engine, options.seconds, options.seed)} inputs, no crash")
        return 0
    atheris.instrument_all()
    arguments = [sys.argv[0], f"-max_total_time={int(options.seconds)}", "-max_len=100000", f"-seed={options.seed}"]
    atheris.Setup(arguments, lambda data: judge(engine, data))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
