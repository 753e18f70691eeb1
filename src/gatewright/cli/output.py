"""Output of commands: tables for people, JSON for programs; progress and errors on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.errors import ValidationError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

FOUND = 1
"""Exit code: the command succeeded and reports findings."""
FAILED = 2
"""Exit code: the command failed."""

_PIPE_WIDTH = 160
"""Width of tables that are not printed to a terminal."""


def console(*, error: bool = False) -> Console:
    """The console. Colors are used only at a terminal, and not if ``NO_COLOR`` is set."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False)


def print_json(value: Any) -> None:
    """Print a value as indented JSON: records as objects, times as RFC 3339."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2)
    sys.stdout.write(text.decode() + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return str(value)


def print_line(text: str) -> None:
    """Print a line literally: square brackets are not markup."""
    console().print(text, markup=False, soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table: numbers right-aligned, times in seconds, None as a dash."""
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, name in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[number]) for row in cells if row[number] is not None)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell(value: Any) -> str:
    """Format a value for a table cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in value)
    return str(value)


@contextmanager
def progress(description: str, total: float | None, *, unit: str = "") -> Iterator[Callable[[float], None]]:
    """Show a progress bar on standard error, at a terminal only. Yields the function that updates it.

    Args:
        total: the value of 100 %, or None if unknown.
        unit: ``bytes`` formats sizes; anything else counts.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    counter = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), counter, TimeElapsedColumn(), TimeRemainingColumn())
    out = console(error=True)
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


def refuse_overwriting(read: Iterable[Path], *written: Path | None) -> None:
    """Raise ValidationError if an output file is also an input file or another output file."""
    taken = {path.resolve() for path in read}
    for path in written:
        if path is not None:
            if path.resolve() in taken:
                raise ValidationError(f"{path} is given twice and would be overwritten. Choose another file.")
            taken.add(path.resolve())


def say(text: str) -> None:
    """Print a message to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def fail(code: str, message: str) -> int:
    """Print an error in one line and return the exit code."""
    line = " ".join(message.split())
    say(f"gatewright: {code}: {line}")
    return FAILED
