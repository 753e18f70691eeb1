"""An installation of its own for each test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewright.cli.main import main

Command = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory that the settings point to; nothing of the machine's own environment is seen."""
    data = tmp_path / "data"
    monkeypatch.setenv("GATEWRIGHT_DATA_DIR", str(data))
    monkeypatch.setenv("GATEWRIGHT_ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("GATEWRIGHT_ARGON2_TIME_COST", "1")
    monkeypatch.setenv("GATEWRIGHT_SECRETS_DIR", "set so that what the command sets is undone")
    monkeypatch.delenv("GATEWRIGHT_SECRETS_DIR")
    return data


@pytest.fixture
def command(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command with ``--json`` in the installation; its output."""

    def run(*arguments: str, code: int = 0) -> Any:
        assert main([*arguments, "--json"]) == code, capsys.readouterr().err
        out = capsys.readouterr().out
        return json.loads(out) if out else None

    return run


@pytest.fixture
def installed(command: Command) -> Command:
    """As ``command``, with keys made."""
    command("init", "--keys-only")
    return command
