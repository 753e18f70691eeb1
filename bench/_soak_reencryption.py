"""The long version of the re-encryption test: 100,000 records, killed ten times at random, writers all the while.

Run: ``python -m bench._soak_reencryption [records] [kills] [seed]``; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.encryption.test_reencryption import killed_and_resumed


async def main(records: int = 100_000, kills: int = 10, seed: int | None = None) -> None:
    """Run it and print what it did; an AssertionError says which promise was broken."""
    seed = time.time_ns() if seed is None else seed
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = await killed_and_resumed(Path(folder), records=records, kills=kills, seed=seed)
    seconds = round(time.perf_counter() - begin, 1)
    print(json.dumps({"figure": "re-encryption, killed and resumed", **result, "seed": seed, "seconds": seconds}))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
