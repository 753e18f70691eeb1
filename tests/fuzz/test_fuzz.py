"""A short run of the fuzzer (``make fuzz`` is the long one), and the fuzzer's own judgement."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gatewright.threats import DetectionEngine

from . import fuzz_inspect
from .judging import KEPT, Slowest, allowed, judge, mutate, seeds

SECONDS = 20.0
ROOM = 3.0
"""Times what an input may take: other tests run beside this one, and share the processor's caches."""


@pytest.mark.slow
def test_no_input_crashes_or_stalls(tmp_path: Path) -> None:
    """Twenty seconds, coverage-guided where atheris is installed."""
    figures = fuzz_inspect.fuzz(SECONDS, seed=20, report=tmp_path / "fuzz.json")
    assert (figures["failure"], figures["crashes"]) == ("", [])
    assert figures["inputs"] > 0
    assert figures["slowest"]
    assert [one for one in figures["slowest"] if one["ms"] > ROOM * one["allowed_ms"]] == []


def test_without_atheris_inputs_are_mutated_at_random(tmp_path: Path) -> None:
    """The same judgement, and the report says that nothing guided the search."""
    run = fuzz_inspect.unguided(tmp_path, seconds=0.2, seed=3)
    assert run.inputs > 0 and run.failure == ""
    assert "without guidance" in run.method


def test_a_crash_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the input that made it."""

    def broken(engine: DetectionEngine, data: bytes) -> float:
        raise ValueError("broken")

    monkeypatch.setattr(fuzz_inspect, "judge", broken)
    run = fuzz_inspect.unguided(tmp_path, seconds=0.2, seed=3)
    assert "ValueError: broken" in run.failure
    assert [path.name[:6] for path in tmp_path.iterdir()] == ["crash-"]


def test_the_slowest_are_kept_in_proportion(tmp_path: Path) -> None:
    """The part of what they may take counts, not the time."""
    slowest = Slowest(tmp_path)
    for number in range(20):
        slowest.saw(b"%d" % number, 0.001 * number)
    slowest.saw(b"long" * 100_000, 0.0195)
    kept = sorted(int(path.read_bytes()) for path in tmp_path.iterdir())
    assert kept == list(range(20 - KEPT, 20))


def test_what_an_input_may_take() -> None:
    """50 ms, and 50 ms for each 100 KB beyond the first."""
    assert allowed(b"a") == allowed(b"a" * 100_000) == 0.05
    assert allowed(b"a" * 400_000) == pytest.approx(0.2)


def test_mutations_keep_within_bounds() -> None:
    """And the same seed makes the same input."""
    rows = seeds()
    for number in range(200):
        made = [mutate(random.Random(number), rows[number], rows[-number], 5_000) for _ in range(2)]
        assert made[0] == made[1] and len(made[0]) <= 5_000
    judge(DetectionEngine.load(), made[0])
