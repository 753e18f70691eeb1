"""Back-test of usage insights: are forecasts and suggestions right for tenants whose future is known?

python -m bench.insights [--rounds N] [--seed N]

Exit code 1 if a forecast's 80 % interval covers less than 75 % or more than 90 % of outcomes for one of five shapes of
usage, or if fewer than 90 % of the suggested tiers prove right for eight kinds of tenants, many of them ambiguous.
"""

from __future__ import annotations

import argparse
import sys

from bench._forecast import back_test
from bench._suggestions import back_test_suggestions, overall
from gatewright.policy import load_policy

LEAST_COVERED, MOST_COVERED = 0.75, 0.90
LEAST_PRECISE = 0.9


def share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def main(rounds: int, seed: int) -> int:
    shapes = back_test(rounds=rounds, seed=seed)
    kinds = back_test_suggestions(load_policy(), rounds=max(1, rounds // 4), seed=seed)
    total = overall(kinds)
    print("Forecast           tenants  in the interval  mean error")
    for r in shapes:
        print(f"{r.shape:18} {r.rounds:>7} {r.coverage:>16.1%} {r.mean_error:>11.1%}")
    print("Suggested tiers    tenants  suggestions  right  needs found")
    for k in kinds:
        right, found = share(k.right, k.suggested), share(k.found, k.needed)
        print(f"{k.kind:18} {k.tenants:>7} {k.suggested:>12} {right:>6} {found:>12}")
    print(f"{'all':18} {total.tenants:>7} {total.suggested:>12} {total.precision:>6.0%} {total.recall:>12.0%}")
    honest = all(LEAST_COVERED <= r.coverage <= MOST_COVERED for r in shapes) and total.precision >= LEAST_PRECISE
    return 0 if honest else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="generated tenants per shape")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.exit(main(arguments.rounds, arguments.seed))
