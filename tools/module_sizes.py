"""Check the size of the modules: one idea each, 60 to 400 lines; a façade that is longer has a reason.

Run by ``make lint``. The figures and the façades are in pyproject.toml, ``[tool.gatewright.modules]``.
"""

from __future__ import annotations

import statistics
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "gatewright"


def faults(rules: dict[str, object]) -> list[str]:
    """What is wrong with the modules as a whole, and with each of them."""
    lines = {path.relative_to(SOURCE).as_posix(): path.read_text().count("\n") for path in SOURCE.rglob("*.py")}
    longest, facades = int(str(rules["longest"])), dict(rules["facades"])  # type: ignore[call-overload]
    found = [
        f"{name}: {count} lines, more than {longest}. Split it, or name it as a façade with a reason."
        for name, count in sorted(lines.items())
        if count > longest and name not in facades
    ]
    found += [
        f"{name}: named as a façade, but is not longer than {longest} lines. Remove it from pyproject.toml."
        for name in facades
        if lines.get(name, 0) <= longest
    ]
    fewest, most = int(str(rules["fewest"])), int(str(rules["most"]))
    if not fewest <= len(lines) <= most:
        found.append(f"{len(lines)} modules, not {fewest} to {most}.")
    median = statistics.median(lines.values())
    if median < int(str(rules["median"])):
        found.append(f"The median module has {median:.0f} lines, fewer than {rules['median']}.")
    print(f"{len(lines)} modules, median {median:.0f} lines, longest {max(lines.values())}")
    return found


def main() -> int:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = faults(config["tool"]["gatewright"]["modules"])
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
