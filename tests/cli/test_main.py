"""The command as a whole: fast to start, one line for an error, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gatewright._version import __version__
from gatewright.cli.main import main
from gatewright.cli.output import cell, print_json, print_table

HEAVY = {"numpy", "fastapi", "pydantic", "cryptography", "uvicorn", "webauthn", "phonenumbers", "sklearn"}


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from gatewright.cli.main import main; code = main(['--help']); "
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)), code)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "LOADED [] 0" in out
    for command in ("serve", "init", "doctor", "evaluate", "scan", "keys", "audit", "usage", "posture", "migrate"):
        assert command in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gatewright {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["fly"], ["serve", "--port", "many"], ["serve", "--workers", "0"], ["evaluate"], ["--fly"], []]
)
def test_a_wrong_call_is_told_and_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err or captured.out
    assert "Traceback" not in captured.err
    if arguments:
        assert captured.err.startswith("gatewright: USAGE: ")
        assert captured.err.count("\n") == 1


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GATEWRIGHT_MAX_BODY_BYTES", "lots")
    assert main(["serve", "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("gatewright: CONFIGURATION_ERROR: GATEWRIGHT_MAX_BODY_BYTES='lots': ")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "/nowhere/rows.jsonl"]) == 2
    assert "/nowhere/rows.jsonl" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error() -> None:
    program = "from gatewright.cli.main import run; import sys; sys.argv = ['gatewright', 'policy', 'check']; run()"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.wait(30)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_tables_have_no_colour_in_a_pipe_and_take_text_literally(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Title", ("name", "value"), [("[red]x[/red]", 1234), ("y", None)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]x[/red]" in out
    assert "1,234" in out


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (1234567, "1,234,567"), (0.12345, "0.1235"), (("a", "b"), "a, b")]
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


def test_json_of_records(capsys: pytest.CaptureFixture[str]) -> None:
    from gatewright.errors import FieldError

    print_json({"errors": [FieldError(field="a", error_type="B", message="c")]})
    assert json.loads(capsys.readouterr().out) == {"errors": [{"field": "a", "error_type": "B", "message": "c"}]}
