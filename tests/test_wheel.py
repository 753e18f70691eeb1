"""What is installed with ``pip install gatewright``: the package alone, without training data or attack samples."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatewright.cli.main import app

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "gatewright"
SUFFIXES = {".py", ".toml", ".sql", ".safetensors", ".gz", ".xz", ".txt", ".typed"}
TRAINING_ONLY = ("sklearn", "scipy", "gatewright_training")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_wheel_is_the_package_and_nothing_beside_it() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build == {"packages": ["src/gatewright"]}


def test_the_package_has_no_training_data() -> None:
    files = [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix for path in files} <= SUFFIXES
    assert not [path for path in files if "grammar" in path.name or "corpus" in path.name]


def test_only_the_train_command_imports_training() -> None:
    users = {
        path.relative_to(SOURCE).as_posix(): imports_of(path) & set(TRAINING_ONLY) for path in SOURCE.rglob("*.py")
    }
    assert {path: found for path, found in users.items() if found} == {"cli/model.py": {"gatewright_training"}}


def test_the_train_command_names_the_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "gatewright_training"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"payload": "x", "label": 0}) + "\n")
    result = CliRunner().invoke(app, ["model", "train", "--corpus", str(rows), "--out", str(tmp_path / "model")])
    text = f"{result.output} {result.exception}"
    assert result.exit_code != 0
    assert "pip install ./training" in text


class _Absent:
    """A finder for which the training package is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == "gatewright_training":
            raise ModuleNotFoundError(name="gatewright_training")
