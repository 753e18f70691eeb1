"""Fuzz walk, normalize and inspect: ``python -m tests.fuzz.fuzz_inspect --seconds 600``.

Where atheris is installed, the branches that an input takes guide the search (coverage-guided); where it is not (it
has wheels for Linux on x86-64 and Python up to 3.13), attacks and harmless rows are mutated at random, and the report
says so. A crash, or over 50 ms of processor time per 100 KB in a run of the input alone, is exit code 1; the input is
kept beside the report.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from gatewright.threats import DetectionEngine

from .judging import Slowest, judge, mutate, seeds

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "reports" / "fuzz.json"
LONGEST = 200_000
ENDING_ALLOWED = 120.0
"""Seconds beyond its time after which a fuzzer that does not end is ended."""


class Run(NamedTuple):
    """What a fuzzer did: how it searched, how many inputs it tried, and what it printed where it failed."""

    method: str
    inputs: int
    branches: int | None
    failure: str


def guided(directory: Path, seconds: float, seed: int) -> Run:
    """With atheris."""
    module = ["tests.fuzz.guided", str(directory), str(max(1, int(seconds))), str(seed)]
    done = _run(module, seconds + ENDING_ALLOWED)
    said = done.stdout + done.stderr
    inputs = re.findall(r"stat::number_of_executed_units:\s+(\d+)", said) or re.findall(r"^#(\d+)\s", said, re.M)
    branches = re.findall(r"cov: (\d+)", said)
    return Run(
        method=f"coverage-guided, atheris {version('atheris')}",
        inputs=int(inputs[-1]) if inputs else 0,
        branches=int(branches[-1]) if branches else None,
        failure=said[-4_000:] if done.returncode else "",
    )


def unguided(directory: Path, seconds: float, seed: int) -> Run:
    """Without atheris."""
    engine = DetectionEngine.load()
    engine.inspect("warm up '")
    choose, rows, slowest = random.Random(seed), seeds(), Slowest(directory)
    end, tried, failure = time.monotonic() + seconds, 0, ""
    while time.monotonic() < end and not failure:
        data = mutate(choose, choose.choice(rows), choose.choice(rows), LONGEST)
        tried += 1
        try:
            slowest.saw(data, judge(engine, data))
        except Exception:
            (directory / f"crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            failure = traceback.format_exc()
    return Run("random mutation without guidance", tried, None, failure)


def slow_ones(directory: Path) -> list[dict[str, Any]]:
    """The slowest inputs, each tried again alone, the worst first."""
    found: list[dict[str, Any]] = json.loads(_run(["tests.fuzz.retry", str(directory)], 600.0, check=True).stdout)
    return found


def _run(module: list[str], seconds: float, *, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a module of Gatewright in another process, without coverage, which would slow it several times."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", *module]
    return subprocess.run(
        command,
        capture_output=True,
        check=check,
        text=True,
        errors="replace",
        timeout=seconds,
        env=environment,
        cwd=ROOT,
    )


def fuzz(seconds: float, seed: int, report: Path) -> dict[str, Any]:
    """Fuzz for so long and write the report; what failed is kept beside it."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gatewright-fuzz-") as name:
        directory = Path(name)
        search = guided if importlib.util.find_spec("atheris") else unguided
        run = search(directory, seconds, seed)
        slow = slow_ones(directory)
        too_slow = [one for one in slow if one["ms"] > one["allowed_ms"]]
        crashes = sorted(
            path.name for path in directory.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))
        )
        report.parent.mkdir(parents=True, exist_ok=True)
        for kept in [*crashes, *(one["input"] for one in too_slow)]:
            shutil.copy(directory / kept, report.parent / f"fuzz-{kept}")
    figures = {
        "python": platform.python_version(),
        "method": run.method,
        "seed": seed,
        "seconds": round(time.monotonic() - begin, 1),
        "inputs": run.inputs,
        "branches": run.branches,
        "failure": run.failure,
        "crashes": crashes,
        "too_slow": too_slow,
        "slowest": slow,
    }
    report.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def main() -> int:
    """Parse arguments and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    figures = fuzz(options.seconds, options.seed, options.report)
    print(json.dumps({name: value for name, value in figures.items() if name not in ("failure", "slowest")}))
    if figures["slowest"]:
        print("slowest, alone:", json.dumps(figures["slowest"][0]))
    if figures["failure"]:
        print(figures["failure"], file=sys.stderr)
    return 1 if figures["failure"] or figures["crashes"] or figures["too_slow"] else 0


if __name__ == "__main__":
    sys.exit(main())
