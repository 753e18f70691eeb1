"""Hold the coverage floor: at least 95 % of the lines and 90 % of the branches of ``src``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

LINES, BRANCHES = 95.0, 90.0


def main(path: str) -> int:
    totals = json.loads(Path(path).read_text())["totals"]
    lines = 100 * totals["covered_lines"] / totals["num_statements"]
    branches = 100 * totals["covered_branches"] / max(1, totals["num_branches"])
    print(f"coverage: lines {lines:.1f} % (floor {LINES:.0f}), branches {branches:.1f} % (floor {BRANCHES:.0f})")
    return 0 if lines >= LINES and branches >= BRANCHES else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
