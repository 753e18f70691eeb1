"""A short run of the fuzzer; ``make fuzz`` is the long one."""

from __future__ import annotations

from gatewright.threats.engine import DetectionEngine

from .fuzz_inspect import run_random

SECONDS = 15.0


def test_no_input_crashes_or_stalls() -> None:
    """Mutated attacks and harmless rows."""
    assert run_random(DetectionEngine.load(), SECONDS, seed=20) > 50
