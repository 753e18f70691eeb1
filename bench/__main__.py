"""Run every benchmark, one after the other, and keep what they print under ``reports/``.

python -m bench [name ...]
"""

from __future__ import annotations

import os
import pkgutil
import platform
import subprocess
import sys
import time
from pathlib import Path

import bench

NOT_BENCHMARKS = {"soak", "soak_quota", "detector_report", "learning"}
"""Runs with targets of their own, and what trains ten models."""


def names() -> list[str]:
    """The benchmarks there are."""
    found = (module.name for module in pkgutil.iter_modules(bench.__path__))
    return sorted(name for name in found if not name.startswith("_") and name not in NOT_BENCHMARKS)


def main(wanted: list[str]) -> int:
    known = names()
    if unknown := set(wanted) - set(known):
        print(f"No benchmark is called {', '.join(sorted(unknown))}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    report = Path("reports") / f"bench-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    report.parent.mkdir(exist_ok=True)
    failed = []
    with report.open("w") as out:
        head = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
        print(head)
        out.write(head + "\n")
        for name in wanted or known:
            print(f"\n== {name}", flush=True)
            result = subprocess.run(
                [sys.executable, "-m", f"bench.{name}"], capture_output=True, text=True, timeout=3600
            )
            print(result.stdout + result.stderr[-2000:], end="", flush=True)
            out.write(f"\n== {name}\n{result.stdout}")
            if result.returncode:
                failed.append(name)
    print(f"\nreport: {report}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
