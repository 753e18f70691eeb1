"""``gatewright scan``: requests in access logs that block mode would have refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.access_log import corruption_reported, decompressed
from gatewright.cli.bootstrap import installed_detector, installed_policy, load_settings, run
from gatewright.cli.evaluate import is_blocked
from gatewright.cli.inspect import shorten
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table, progress, refuse_overwriting

if TYPE_CHECKING:
    from gzip import GzipFile
    from io import BufferedReader

    from gatewright.cli.access_log import LoggedRequest
    from gatewright.cli.scan_totals import Position, Tally
    from gatewright.threats import Inspection, ManufacturerSecurityValidator
    from gatewright.web.enforcement import Enforcement

MAX_LINE = 65_536
"""Longest line in bytes. Longer lines are counted separately."""
BATCH = 512
LABEL = 200
"""Characters kept of a client, path or status."""
SAVE_SECONDS = 1.0


class LogForm(StrEnum):
    """The format of the log lines."""

    AUTO = "auto"
    COMBINED = "combined"
    JSON = "json"


def scan(
    files: Annotated[list[Path], typer.Argument(help="Access logs, optionally gzipped.", exists=True, dir_okay=False)],
    form: Annotated[LogForm, typer.Option("--format", help="Format of the lines.")] = LogForm.AUTO,
    report: Annotated[
        Path | None, typer.Option(help="Write requests that would be blocked to this file, as JSON lines.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="Resume an interrupted scan and follow rotated logs.")] = None,
    json: Json = False,
) -> None:
    """Inspect access logs (combined format or JSON lines) and summarize what would have been blocked.

    Uses the detector of this installation, and the inspection modes and exclusions of its policy; those declared in
    code are not considered. Memory use does not depend on the size of the logs. With --state, a scan resumes where it
    was interrupted and follows logs that have grown or been rotated, without counting anything twice. Exit code 1 if
    anything would have been blocked.
    """
    from gatewright.cli.scan_totals import load

    refuse_overwriting(files, report, state)
    tally = load(state)
    before = tally.lines
    started = time.perf_counter()
    run(_scan_all(files, form, tally, report, state))
    summary = summarise(tally, fresh=tally.lines - before, seconds=time.perf_counter() - started)
    if json:
        print_json(summary)
    else:
        _show(summary, report)
    raise typer.Exit(FOUND if tally.blocked else 0)


async def _scan_all(files: list[Path], form: LogForm, tally: Tally, report: Path | None, state: Path | None) -> None:
    from gatewright.cli.scan_totals import Position, positions_of, save

    sizes = {file: file.stat().st_size for file in files}
    with ExitStack() as stack:
        done = stack.enter_context(progress("scanning", sum(sizes.values()), unit="bytes"))
        positions = positions_of(tally, {file: _beginning(file) for file in sizes if file.is_file()})
        out = None if report is None else stack.enter_context(_open_report(report, tally))
        treatments = _treatments()
        async with installed_detector() as validator:
            scanner = Scanner(validator, tally, out, treatments)
            before = 0
            for file, size in sizes.items():

                def keep(read: int, base: int = before) -> None:
                    save(tally, state)
                    done(base + read)

                await scanner.read(file, form, positions.get(file, Position()), keep, grows=state is not None)
                before += size


def _beginning(file: Path) -> bytes:
    from gatewright.cli.scan_totals import BEGINNING

    with file.open("rb") as raw, corruption_reported(file):
        return decompressed(raw).read(BEGINNING)


def _treatments() -> Enforcement:
    """Handling of findings by route: the modes of the policy, and block mode elsewhere."""
    from gatewright.clock import SystemClock
    from gatewright.events import NullSink
    from gatewright.web.enforcement import Enforcement

    holder = SimpleNamespace(policy=installed_policy(load_settings()))
    return Enforcement("block", holder, SystemClock(), NullSink(), [])


def _open_report(report: Path, tally: Tally) -> IO[bytes]:
    """Open the report and drop lines after the saved position, which belong to a batch that was not counted."""
    known = min(tally.report_size, report.stat().st_size) if report.exists() else 0
    out = report.open("r+b" if known else "wb")
    if known:
        out.truncate(known)
        out.seek(known)
    tally.report_size = known
    return out


class Scanner:
    """Reads files and counts findings.

    Args:
        validator: an initialized detector.
        tally: the totals, which are updated.
        out: the report, if any.
        treatments: handling of findings by route.
    """

    def __init__(
        self,
        validator: ManufacturerSecurityValidator,
        tally: Tally,
        out: IO[bytes] | None,
        treatments: Enforcement,
    ) -> None:
        self._validator = validator
        self._tally = tally
        self._out = out
        self._treatments = treatments

    async def read(
        self, file: Path, form: LogForm, position: Position, keep: Callable[[int], None], *, grows: bool = False
    ) -> None:
        """Inspect a file or pipe from a position, which is advanced.

        Args:
            keep: called about once a second with the number of bytes read.
            grows: leave an incomplete last line for the next scan.
        """
        with file.open("rb") as raw, corruption_reported(file):
            lines = decompressed(raw)
            if position.offset:
                lines.seek(position.offset)
            saved = time.monotonic()
            for batch, end in _batches(lines, position.offset, waits=grows and lines is raw and raw.seekable()):
                await self._judge(file, form, batch, position)
                position.offset = end
                if time.monotonic() - saved >= SAVE_SECONDS:
                    keep(raw.tell() if raw.seekable() else 0)
                    saved = time.monotonic()
            keep(raw.tell() if raw.seekable() else 0)

    async def _judge(self, file: Path, form: LogForm, batch: list[bytes | None], position: Position) -> None:
        from gatewright.cli.access_log import NotARequest, parse

        requests: list[tuple[int, LoggedRequest]] = []
        for line in batch:
            position.line += 1
            self._tally.lines += 1
            if line is None:
                self._tally.too_long += 1
                continue
            self._tally.bytes += len(line)
            if not line.strip():
                continue
            try:
                requests.append((position.line, parse(line, form.value)))
            except NotARequest:
                self._tally.unreadable += 1
        found = await self._validator.inspect_many([request.value for _, request in requests])
        for (number, request), inspection in zip(requests, found, strict=True):
            if is_blocked(inspection):
                if self._refuses(request, inspection):
                    self._count(file, number, request, inspection)
                else:
                    self._tally.let_pass += 1
        if self._out is not None:
            self._out.flush()
            self._tally.report_size = self._out.tell()

    def _refuses(self, request: LoggedRequest, found: Inspection) -> bool:
        from gatewright.web.rules import DEFAULT

        scope = {"method": request.method.upper(), "path": request.path}
        return self._treatments.of(DEFAULT, scope).refuses(found)

    def _count(self, file: Path, number: int, request: LoggedRequest, found: Inspection) -> None:
        tally = self._tally
        tally.blocked += 1
        for kind in {f.threat_type for f in found.findings} or {"truncated"}:
            tally.count(tally.by_threat_type, kind)
        tally.count(tally.by_status, _label(request.status))
        tally.count(tally.clients, _label(request.client))
        tally.count(tally.paths, _label(request.target.partition("?")[0]))
        if self._out is not None:
            self._out.write(_report_line(file, number, request, found))


def _batches(lines: BufferedReader | GzipFile, start: int, *, waits: bool) -> Iterator[tuple[list[bytes | None], int]]:
    """Batches of lines (None for a line that is too long), each with the offset of its end.

    Args:
        start: the current offset of ``lines``.
        waits: skip an incomplete last line.
    """
    batch: list[bytes | None] = []
    end = start
    while line := lines.readline(MAX_LINE):
        size, tail = len(line), line
        while not tail.endswith(b"\n") and (tail := lines.readline(MAX_LINE)):
            size += len(tail)
        if waits and not tail:
            break
        batch.append(line if size <= MAX_LINE else None)
        end += size
        if len(batch) >= BATCH:
            yield batch, end
            batch = []
    if batch:
        yield batch, end


def _label(text: str) -> str:
    """Shorten and redact text of a log for display."""
    from gatewright.logs import redact_text

    return redact_text(text)[:LABEL]


def _report_line(file: Path, number: int, request: LoggedRequest, found: Inspection) -> bytes:
    import msgspec

    from gatewright.logs import redact_text

    entry = {
        "file": redact_text(str(file)),
        "line": number,
        "time": _label(request.time),
        "client": _label(request.client),
        "method": _label(request.method),
        "target": redact_text(request.target),
        "status": _label(request.status),
        "confidence": round(found.confidence, 4),
        "risk_score": round(found.risk_score, 4),
        "truncated": found.truncated,
        "findings": [
            {
                "threat_type": f.threat_type,
                "severity": f.severity,
                "confidence": round(f.confidence, 4),
                "path": redact_text(f.path or ""),
                "rules": list(f.detected_patterns)[:8],
                "evidence": redact_text(shorten(f.evidence)),
            }
            for f in found.findings
        ],
    }
    return msgspec.json.encode(entry) + b"\n"


def summarise(tally: Tally, *, fresh: int, seconds: float) -> dict[str, Any]:
    """The figures of a scan. ``fresh`` lines were read in this run."""
    from gatewright.cli.scan_totals import top

    return {
        "lines": tally.lines,
        "lines_this_time": fresh,
        "blocked": tally.blocked,
        "let_pass": tally.let_pass,
        "unreadable": tally.unreadable,
        "too_long": tally.too_long,
        "bytes": tally.bytes,
        "seconds": round(seconds, 3),
        "lines_per_second": round(fresh / seconds) if seconds else 0,
        "by_threat_type": top(tally.by_threat_type, 20),
        "by_status": top(tally.by_status),
        "top_clients": top(tally.clients),
        "top_paths": top(tally.paths),
    }


def _show(summary: dict[str, Any], report: Path | None) -> None:
    print_line(
        f"{summary['lines']:,} lines ({summary['lines_this_time']:,} in this run, "
        f"{summary['lines_per_second']:,} per second): {summary['blocked']:,} would have been blocked"
    )
    for name, meaning in (("unreadable", "could not be parsed"), ("too_long", f"were longer than {MAX_LINE:,} bytes")):
        if summary[name]:
            print_line(f"{summary[name]:,} lines {meaning} and were skipped")
    if summary["let_pass"]:
        print_line(f"{summary['let_pass']:,} requests with findings are allowed by the policy")
    for title, name in (
        ("By threat type", "by_threat_type"),
        ("By response status", "by_status"),
        ("Clients", "top_clients"),
        ("Paths", "top_paths"),
    ):
        if summary[name]:
            print_table(title, ("", "requests"), list(summary[name].items()))
    if report is not None and summary["blocked"]:
        print_line(f"Details are in {report}")
