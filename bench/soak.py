"""The long versions of the race and kill tests, one after the other; each leaves a report under ``reports/``.

python -m bench.soak [--short]
"""

from __future__ import annotations

import subprocess
import sys

LONG = (("bench.soak_quota", "--rounds", "1000"), ("bench._soak_reencryption", "100000", "10"))
SHORT = (("bench.soak_quota", "--rounds", "20"), ("bench._soak_reencryption", "5000", "3"))


def main() -> int:
    failed = 0
    for module, *arguments in SHORT if "--short" in sys.argv else LONG:
        print(f"== {module} {' '.join(arguments)}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", module, *arguments]).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
