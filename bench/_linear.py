"""Time per byte of forty hostile shapes from 1 to 512 KB: if it grew with length, an input could stall a worker."""

from __future__ import annotations

import json
import time

from tests.threats.engine.shapes import HOSTILE

from gatewright.threats import DetectionEngine

SIZES = [1_024 << power for power in range(10)]
GROWTH_ALLOWED = 2.0
ROUND_SECONDS = 0.005
"""What is shorter is repeated until it takes so long."""

MOST_TIMES = 50
ROUNDS, MORE_ROUNDS = 4, 12


def linear() -> int:
    """Print one line of JSON a shape, and the worst; 1 where the time per byte grew too much."""
    engine = DetectionEngine.load()
    worst = 0.0
    for shape in HOSTILE:
        each = [_ns_a_byte(engine, shape, size, ROUNDS) for size in SIZES]
        if _growth(each) > GROWTH_ALLOWED:  # another process may have been in the way
            again = [_ns_a_byte(engine, shape, size, MORE_ROUNDS) for size in SIZES]
            each = list(map(min, each, again))
        worst = max(worst, _growth(each))
        figure = {"shape": shape, "ns_a_byte": [round(ns, 2) for ns in each], "growth": round(_growth(each), 2)}
        print(json.dumps(figure), flush=True)
    print(json.dumps({"figure": "linear", "shapes": len(HOSTILE), "sizes": SIZES, "worst_growth": round(worst, 2)}))
    return 1 if worst > GROWTH_ALLOWED else 0


def _ns_a_byte(engine: DetectionEngine, shape: str, size: int, rounds: int) -> float:
    """Processor time, the best of some rounds; no text comes twice, for what was harmless may be remembered."""
    best, times = float("inf"), 1
    for number in range(rounds):
        texts = [_text(shape, size, f"{number:02}{turn:03} ") for turn in range(times)]
        begin = time.thread_time_ns()
        for text in texts:
            engine.inspect(text)
        spent = time.thread_time_ns() - begin
        best = min(best, spent / times / len(texts[0].encode()))
        times = max(times, min(MOST_TIMES, int(ROUND_SECONDS * 1e9 * times / max(1, spent))))
    return best


def _text(shape: str, size: int, head: str) -> str:
    """At most ``size`` characters; all of one shape end alike, or a rule might find the end of some."""
    return head + shape * ((size - len(head)) // len(shape))


def _growth(each: list[float]) -> float:
    """How many times as long a byte takes at any size as at the best of the smaller sizes."""
    return max(each[place] / min(each[:place]) for place in range(1, len(each)))
