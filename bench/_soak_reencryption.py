"""The long version of the re-encryption test: 100,000 records, ten processes killed (SIGKILL) at random moments that
are spread over the whole run, writers and readers all the while.

    python -m bench._soak_reencryption [records] [kills] [seed]     prints a line of JSON, keeps it under reports/
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.encryption.killing import killed_processes

REPORT = Path("reports") / "soak-reencryption.json"


async def main(records: int = 100_000, kills: int = 10, seed: int | None = None) -> None:
    """Run it and print what it did; an AssertionError says which promise was broken."""
    seed = time.time_ns() if seed is None else seed
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = await killed_processes(Path(folder), records=records, kills=kills, seed=seed, from_outside=True)
    seconds = round(time.perf_counter() - begin, 1)
    row = {"figure": "re-encryption, killed and resumed", **result, "kills": kills, "seed": seed, "seconds": seconds}
    print(json.dumps(row))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
