"""``gatewright evaluate``: detection figures on labeled rows."""

from __future__ import annotations

import csv
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.access_log import corruption_reported, decompressed
from gatewright.cli.bootstrap import run
from gatewright.cli.output import Json, print_json, print_line, print_table, progress, refuse_overwriting
from gatewright.errors import ValidationError

if TYPE_CHECKING:
    from gatewright.threats import Inspection

ATTACK, HARMLESS = "attack", "harmless"
_REPORT_EVERY = 256


def evaluate(
    file: Annotated[
        Path, typer.Argument(help="Labeled rows as JSON lines, optionally gzipped.", exists=True, dir_okay=False)
    ],
    verdicts: Annotated[
        Path | None, typer.Option(help="Write id,verdict,score,threat_type of each row to this file.")
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="Rules directory. [default: bundled rules]")] = None,
    model: Annotated[Path | None, typer.Option(help="Model file. [default: bundled model]")] = None,
    json: Json = False,
) -> None:
    """Evaluate the detector on labeled rows, each as the middleware in block mode would judge it.

    Settings and learned corrections of this installation are not used; --rules and --model select others. A row is
    {"payload", "label" (1 attack, 0 harmless), "category", "source", "id"}.
    """
    refuse_overwriting([file], verdicts)
    score = run(_judge_all(file, file.stat().st_size, verdicts, rules=rules, model=model))
    if json:
        print_json(score.summary())
    else:
        _show(score.summary())


class Scoreboard:
    """Counts and timings of the evaluated rows."""

    def __init__(self) -> None:
        self.rows = 0
        self.attacks = 0
        self.caught = 0
        self.false_alarms = 0
        self.bytes = 0
        self.categories: dict[str, list[int]] = {}
        self.sources: dict[str, list[int]] = {}
        self.times = array("d")

    def add(self, row: dict[str, Any], flagged: bool, seconds: float, size: int) -> None:
        """Count one row."""
        attack = bool(row["label"])
        self.rows += 1
        self.bytes += size
        self.times.append(seconds)
        source = self.sources.setdefault(str(row["source"]), [0, 0])
        source[0] += 1
        source[1] += flagged
        if attack:
            self.attacks += 1
            self.caught += flagged
            category = self.categories.setdefault(str(row["category"]), [0, 0])
            category[0] += 1
            category[1] += flagged
        else:
            self.false_alarms += flagged

    def summary(self) -> dict[str, Any]:
        """The figures. Rates are from 0 to 1; an empty denominator gives 0."""
        times = sorted(self.times)
        return {
            "rows": self.rows,
            "recall": _share(self.caught, self.attacks),
            "fpr": _share(self.false_alarms, self.rows - self.attacks),
            "precision": _share(self.caught, self.caught + self.false_alarms),
            "by_category": {
                name: {"rows": rows, "recall": _share(caught, rows)}
                for name, (rows, caught) in sorted(self.categories.items())
            },
            "by_source": {
                name: {"rows": rows, "flagged": flagged} for name, (rows, flagged) in sorted(self.sources.items())
            },
            "us_per_row": {"p50": _percentile(times, 0.50), "p95": _percentile(times, 0.95)},
            "bytes_per_second": round(self.bytes / sum(times)) if times else 0,
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _percentile(ordered: list[float], share: float) -> float:
    """In microseconds."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6, 1) if ordered else 0.0


async def _judge_all(
    file: Path, size: int, verdicts: Path | None, *, rules: Path | None = None, model: Path | None = None
) -> Scoreboard:
    from gatewright.threats import ManufacturerSecurityValidator

    if model is not None:
        from gatewright.threats.model.linear import LinearModel

        LinearModel.load(model)  # an unusable model is an error here, not a reason to fall back
    score = Scoreboard()
    with ExitStack() as stack:
        raw = stack.enter_context(file.open("rb"))
        stack.enter_context(corruption_reported(file))
        done = stack.enter_context(progress("evaluating", size, unit="bytes"))
        out = None
        if verdicts is not None:
            out = csv.writer(stack.enter_context(verdicts.open("w", newline="", encoding="utf-8")))
            out.writerow(("id", "verdict", "score", "threat_type"))
        async with ManufacturerSecurityValidator(rules_dir=rules, model_file=model) as validator:
            await validator.inspect("warm up")
            for row, row_size in read_rows(file, decompressed(raw)):
                started = time.perf_counter()
                found = await validator.inspect(row["payload"])
                seconds = time.perf_counter() - started
                flagged = is_blocked(found)
                score.add(row, flagged, seconds, row_size)
                if out is not None:
                    verdict = ATTACK if flagged else HARMLESS
                    out.writerow((row["id"], verdict, f"{found.confidence:.4f}", threat_type(found)))
                if score.rows % _REPORT_EVERY == 0 and raw.seekable():
                    done(raw.tell())
    return score


def is_blocked(found: Inspection) -> bool:
    """Whether block mode refuses the value: an attack, or more than can be inspected."""
    return found.threat_detected or found.truncated


def threat_type(found: Inspection) -> str:
    """The type of the most severe finding, or an empty string."""
    if not found.findings:
        return "truncated" if found.truncated else ""
    return str(found.findings[0].threat_type)


def read_rows(file: Path, lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], int]]:
    """Each row, with the size of its payload in bytes.

    Raises:
        ValidationError: a line is not a row. The message names file and line.
    """
    import msgspec

    decoder = msgspec.json.Decoder(dict[str, Any])
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
            payload = row["payload"]
            if row["label"] not in (0, 1):
                raise ValidationError(f"{file}:{number}: `label` must be 1 (attack) or 0 (harmless).")
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValidationError(f"{file}:{number}: not a JSON object ({error}).") from None
        except KeyError as error:
            raise ValidationError(f"{file}:{number}: missing field {error}.") from None
        text = payload if isinstance(payload, str) else msgspec.json.encode(payload)
        yield (
            {"category": "", "source": "", "id": str(number), **row},
            len(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text),
        )


def _show(summary: dict[str, Any]) -> None:
    print_line(
        f"{summary['rows']:,} rows   recall {summary['recall']:.2%}   false positives {summary['fpr']:.2%}   "
        f"precision {summary['precision']:.2%}"
    )
    times = summary["us_per_row"]
    print_line(
        f"per row: median {times['p50']:,.0f} µs, p95 {times['p95']:,.0f} µs; "
        f"{summary['bytes_per_second'] / 1e6:,.2f} MB/s"
    )
    print_table(
        "By category",
        ("category", "attacks", "recall"),
        [(name, found["rows"], f"{found['recall']:.2%}") for name, found in summary["by_category"].items()],
    )
    print_table(
        "By source",
        ("source", "rows", "flagged"),
        [(name, found["rows"], found["flagged"]) for name, found in summary["by_source"].items()],
    )
