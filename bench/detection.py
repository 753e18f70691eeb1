"""Inspection by size, ordinary and hostile, beside libinjection (SQL and XSS only) and OWASP CRS, in one run.

Prints one line of JSON a figure. OWASP CRS runs in ModSecurity in Apache on loopback; ``crs_us`` is what a request
takes with its engine on, less the same request with it off (``http_alone_us``). Run: ``python -m bench.detection``;
with ``--linear`` the time per byte of forty hostile shapes from 1 to 512 KB instead.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import libinjection

from bench._linear import linear
from bench._modsecurity import ModSecurity, modsecurity
from gatewright.threats import DetectionEngine, Walk

PROSE = (
    'Oak shelf with three brackets, waxed by hand; size 90 x 24 x 3 cm (35" x 9"). Ships in 5-7 days from Lyon. '
    "It's sold in pairs, O'Neill & Sons recommend two screws per bracket. See https://shop.example/p/42?ref=mail. "
)
CRS_VALUES = 200
HOSTILE = ("' or ", "%2527", "../", "${", "<a ", "((((", "select ", "\\u0027", "/**/", ";|&`")


def product(number: int) -> dict[str, Any]:
    """A body of ten fields, about 1 KB, none of them like another's."""
    return {
        "sku": f"SKU-{number:06d}",
        "name": f"Oak shelf No. {number} 'Lyon'",
        "description": (f"{number}: " + PROSE * 3)[:640],
        "price": {"amount": f"{number % 900}.90", "currency": "EUR"},
        "tags": ["wood", "home & garden", f"series-{number}"],
        "url": f"https://shop.example/products/{number}?ref=newsletter&lang=en",
        "contact": f"sales+{number}@example.com",
        "address": f"{number} Rue de l'Église, 69001 Lyon",
        "active": True,
        "note": f"Don't stack more than {number % 9}; 50% off (until Friday).",
    }


def main() -> None:
    """Measure and print."""
    engine = DetectionEngine.load()
    cases: list[tuple[str, list[Any], float]] = [
        ("100 B value", [f"{n} {PROSE}"[:100] for n in range(2_000)], 40.0),
        ("1 KB JSON of ten fields", [product(n) for n in range(1_000)], 120.0),
        ("10 KB text", [(f"{n} " + PROSE * 60)[:10_000] for n in range(100)], 5_000.0),
        ("100 KB text", [(f"{n} " + PROSE * 600)[:100_000] for n in range(10)], 50_000.0),
        ("100 KB hostile", [(shape * 100_000)[:100_000] for shape in HOSTILE], 50_000.0),
    ]
    with modsecurity() as crs:
        for name, values, target in cases:
            print(json.dumps(_figure(engine, crs, name, values, target)), flush=True)


def _figure(
    engine: DetectionEngine, crs: ModSecurity | None, name: str, values: list[Any], target: float
) -> dict[str, Any]:
    """One row: ours, and the peers on the same values (of which CRS, being slow, gets the first ones)."""
    for value in values[:20]:
        engine.inspect(value)
    ours = _times(engine.inspect, values[20:] or values)
    theirs = _times(_libinjection, values[20:] or values)
    figure: dict[str, Any] = {
        "figure": f"inspect {name}",
        "us_p50": round(statistics.median(ours), 1),
        "us_p95": round(sorted(ours)[int(0.95 * (len(ours) - 1))], 1),
        "us_max": round(max(ours), 1),
        "target_us": target,
        "libinjection_us_p50": round(statistics.median(theirs), 1),
    }
    if crs is not None:
        figure |= crs.figures((values[20:] or values)[:CRS_VALUES])
        figure["times_faster_than_crs"] = round(figure["crs_us_p50"] / figure["us_p50"], 1)
    return figure


def _times(work: Callable[[Any], Any], values: list[Any]) -> list[float]:
    taken = []
    for value in values:
        begin = time.perf_counter()
        work(value)
        taken.append((time.perf_counter() - begin) * 1e6)
    return taken


def _libinjection(value: Any) -> bool:
    return any(
        libinjection.is_sql_injection(text.text)["is_sqli"] or libinjection.is_xss(text.text)["is_xss"]
        for text in Walk(value)
    )


if __name__ == "__main__":
    if "--linear" in sys.argv[1:]:
        sys.exit(linear())
    main()
