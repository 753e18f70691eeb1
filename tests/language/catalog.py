"""Every text that a user can read: errors, CLI help, API summaries, emails and log keys.

    python -m tests.language.catalog

writes ``user_facing.txt`` again; the test beside this module says when that is due.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click
import typer

from gatewright import SecurityFoundation, Settings
from gatewright.web import create_app

SOURCE = Path(__file__).parents[2] / "src" / "gatewright"
SNAPSHOT = Path(__file__).parent / "user_facing.txt"

_ERROR_CALLS = (
    "Problem",
    "PostureFinding",
    "FactCheck",
    "FieldResult",
    "invalid",
    "problem",
    "fail",
    "warning",
    "error",
)
_FIELD_CALLS = ("refuse", "refused", "warn", "add_error", "add_warning")
"""Calls beside ``...Error(...)`` whose texts reach a user: of problem documents, posture and business data."""
_ERROR_FIELDS = ("message", "detail", "remedy", "recommended_action", "summary", "advice")
_LOG_CALLS = ("debug", "info", "warning", "error", "exception")
_LOGGERS = ("log", "_log", "logger", "_logger")


def errors() -> Iterator[str]:
    """Messages of errors and problem documents, with ``{}`` for each value."""
    for call in _calls():
        name = _name(call)
        known = name.endswith("Error") or name.lstrip("_") in (*_ERROR_CALLS, *_FIELD_CALLS)
        if known and not _is_log(call):
            values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in _ERROR_FIELDS)]
            for value in values:
                text = _text(value)
                if text and " " in text.strip():
                    yield text
    from gatewright import errors as tree

    for kind in vars(tree).values():
        action = getattr(kind, "recommended_action", None)
        if isinstance(action, str):
            yield action


def log_keys() -> Iterator[str]:
    """The first argument of every logging call."""
    for call in _calls():
        if _is_log(call) and call.args:
            text = _text(call.args[0])
            if text:
                yield text


def emails() -> Iterator[str]:
    """Subjects and bodies of messages."""
    for call in _calls():
        if _name(call) == "post":
            for value in call.args[1:3]:
                text = _text(value)
                if text:
                    yield text


def cli_help() -> Iterator[str]:
    """Help of every command, argument and option."""
    from gatewright.cli.main import app

    def walk(command: click.Command, path: str) -> Iterator[str]:
        yield f"{path}: {command.help or ''}"
        for parameter in command.params:
            text = getattr(parameter, "help", None)
            if text:
                yield f"{path} {parameter.opts[0]}: {text}"
        for name, below in sorted(getattr(command, "commands", {}).items()):
            yield from walk(below, f"{path} {name}")

    yield from walk(typer.main.get_command(app), "gatewright")


def api_summaries() -> Iterator[str]:
    """Summary and description of every operation of the HTTP API."""
    document = create_app(SecurityFoundation(Settings(database=":memory:")), demo=True).openapi()
    for path, operations in sorted(document["paths"].items()):
        for method, operation in sorted(operations.items()):
            yield f"{method.upper()} {path}: {operation.get('description') or operation.get('summary') or ''}"


SECTIONS = {
    "Errors": errors,
    "Emails": emails,
    "Command line": cli_help,
    "HTTP API": api_summaries,
    "Log keys": log_keys,
}


def write() -> str:
    """The whole catalog: one text a line, sorted and without repetition, by section."""
    lines = []
    for title, texts in SECTIONS.items():
        lines += [f"# {title}", "", *sorted({" ".join(text.split()) for text in texts()}), ""]
    return "\n".join(lines)


def _calls() -> Iterator[ast.Call]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield node


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _is_log(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in _LOG_CALLS
        and isinstance(function.value, ast.Name)
        and function.value.id in _LOGGERS
    )


def _text(node: ast.AST) -> str | None:
    """A literal's text; formatted values become ``{}``."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp):
        left, right = _text(node.left), _text(node.right)
        return (left or "") + (right or "") if left or right else None
    return None


if __name__ == "__main__":
    SNAPSHOT.write_text(write())
    print(f"{SNAPSHOT} was written.")
