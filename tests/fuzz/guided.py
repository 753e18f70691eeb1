"""The fuzzer itself, in a process of its own: atheris ends it, and its instrumented code is slower than ours.

python -m tests.fuzz.guided DIRECTORY SECONDS SEED
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gatewright.threats"], enable_loader_override=False):
    from gatewright.threats import DetectionEngine

    from .judging import PIECES, Slowest, judge, mutate, seeds

LONGEST = 200_000
OWN_MUTATIONS = 0.3
"""Share of inputs that are changed by syntax and repetition; libFuzzer changes the others byte by byte."""

SHORT, LONG_ONES = 3_000, 0.05
"""Repetition would make nearly all of these long, and few inputs a second; so few may be longer than SHORT."""

SEEDS = 400


def main(directory: Path, seconds: int, seed: int) -> None:
    """Fuzz; what crashes and what is slow is left in ``directory``."""
    choose = random.Random(seed)
    rows = choose.sample(seeds(), SEEDS)
    corpus = directory / "corpus"
    corpus.mkdir()
    for number, row in enumerate(rows):
        (corpus / f"{number:05d}").write_bytes(row)
    words = directory / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in piece.encode()) + '"\n' for piece in PIECES))
    engine = DetectionEngine.load()
    engine.inspect("warm up '")
    slowest = Slowest(directory)

    def one_input(data: bytes) -> None:
        slowest.saw(data, judge(engine, data))

    def mutated(data: bytes, longest: int, number: int) -> bytes:
        own = random.Random(number)
        if own.random() < OWN_MUTATIONS:
            most = longest if own.random() < LONG_ONES else min(longest, max(SHORT, len(data)))
            return mutate(own, data, own.choice(rows), most)
        return bytes(atheris.Mutate(data, longest))

    arguments = [
        "fuzz",
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-len_control=20",
        f"-seed={seed}",
        f"-dict={words}",
        f"-artifact_prefix={directory}/",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
