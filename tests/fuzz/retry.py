"""Try the slowest inputs again, each alone: in a process of its own, where nothing is instrumented or traced.

python -m tests.fuzz.retry DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gatewright.threats import DetectionEngine

from .judging import allowed, alone


def main(directory: Path) -> None:
    """Print them as JSON, the worst first."""
    engine = DetectionEngine.load()
    engine.inspect("warm up '")
    found = []
    for path in directory.glob("slow-*"):
        data = path.read_bytes()
        figures = {"ms": round(alone(engine, data) * 1e3, 2), "allowed_ms": round(allowed(data) * 1e3, 2)}
        found.append({"input": path.name, "bytes": len(data), **figures})
    print(json.dumps(sorted(found, key=lambda one: -one["ms"] / one["allowed_ms"])))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
