"""``gatewright inspect``: the verdict of the detector on one value."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.bootstrap import installed_detector, run
from gatewright.cli.evaluate import is_blocked
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table
from gatewright.errors import ValidationError

if TYPE_CHECKING:
    from gatewright.threats import Inspection, ThreatDetectionResult

MAX_BYTES = 16 * 1024 * 1024
"""Limit of bytes read from standard input."""


def inspect(
    text: Annotated[str, typer.Argument(help="Value to inspect; - reads standard input.")],
    as_json: Annotated[
        bool, typer.Option("--as-json", help="Parse the value as JSON and inspect keys as well.")
    ] = False,
    json: Json = False,
) -> None:
    """Inspect a value and explain the verdict.

    Uses the rules, model, level and learned corrections of this installation. Exit code 1 if block mode would refuse
    the value.
    """
    if text == "-":
        raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValidationError(f"Standard input is too large: the limit is {MAX_BYTES} bytes. Send less.")
        text = raw.decode("utf-8", "surrogateescape").removesuffix("\n")
    found = run(_inspect(_parsed(text) if as_json else text))
    if json:
        print_json(found)
    else:
        _show(found)
    raise typer.Exit(FOUND if is_blocked(found) else 0)


def _parsed(text: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValidationError(f"The value is not valid JSON ({error}). Omit --as-json to inspect it as text.") from None
    except RecursionError:
        raise ValidationError("The value is nested too deeply.") from None


async def _inspect(value: Any) -> Inspection:
    async with installed_detector() as validator:
        return await validator.inspect(value)


def _show(found: Inspection) -> None:
    if not is_blocked(found):
        print_line(f"harmless   attack confidence {found.confidence:.2f}")
        return
    print_line(f"attack   risk {found.risk_score:.2f}   confidence {found.confidence:.2f}")
    if found.truncated:
        print_line("The value is too large or too deep to inspect fully; block mode refuses it for that reason alone.")
    rows = [
        (f.threat_type, f.severity, f"{f.confidence:.2f}", f.path, list(f.detected_patterns)[:4], shorten(f.evidence))
        for f in found.findings
    ]
    if rows:
        print_table("Findings", ("type", "severity", "confidence", "path", "rules", "evidence"), rows)
    for f in found.findings:
        _explain(f)


def _explain(found: ThreatDetectionResult) -> None:
    """Details below the table."""
    if summary := found.threat_details.get("summary"):
        print_line(f"- {shorten(summary, 300)}")
    if decoded := found.metadata.get("decoded"):
        print_line(f"  decoded: {shorten(decoded)}")
    if places := list(dict.fromkeys(map(_place, found.metadata.get("spans", ())))):
        print_line(f"  location: {', '.join(places[:4])}")
    if grams := found.metadata.get("ngrams"):
        print_line("  model features: " + ", ".join(f"{g['text']!r} {g['weight']:+.2f}" for g in grams[:5]))


def _place(span: Mapping[str, Any]) -> str:
    return f"characters {span['original']['start']} to {span['original']['end']}"


def shorten(evidence: Any, length: int = 120) -> str:
    """Evidence as one short line, without control characters."""
    from gatewright.logs import escape_control

    parts = evidence if isinstance(evidence, list | tuple) else [evidence]
    text = escape_control("; ".join(str(part) for part in parts))
    return text if len(text) <= length else text[: length - 1] + "…"
