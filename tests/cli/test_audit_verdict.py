"""``gatewright audit verify`` says what the log was held against, and ends with 1 on a finding."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gatewright.cli.main import main
from gatewright.storage import CompactMerkleTree, leaf_hash
from tests.cli.conftest import Command


def rewrite(path: Path) -> None:
    """Change an entry and compute every hash again; no checkpoint and no binding is left."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE audit_entries SET body = CAST(replace(CAST(body AS TEXT), 'true', 'false') AS BLOB)")
        growth = CompactMerkleTree()
        for index, body in connection.execute("SELECT idx, body FROM audit_entries ORDER BY idx").fetchall():
            connection.execute("UPDATE audit_entries SET leaf_hash = ? WHERE idx = ?", (leaf_hash(body), index))
            growth.append(leaf_hash(body))
        connection.execute("UPDATE audit_head SET size = ?, peaks = ?", (growth.size, b"".join(growth.peaks)))
        connection.execute("DELETE FROM audit_checkpoints")
        connection.execute("DELETE FROM audit_bindings")


def test_the_verdict_says_what_it_was_held_against(
    installed: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    witness = tmp_path / "elsewhere" / "checkpoints"
    monkeypatch.setenv("GATEWRIGHT_CHECKPOINT_FILE", str(witness))
    installed("manufacturer", "create", "a@acme.example", "--company", "Acme Tools")
    told = installed("audit", "verify")
    assert told["valid"] is True and told["bound_from"] == 0
    assert main(["audit", "verify"]) == 0
    out = capsys.readouterr().out
    assert "verified against root secret: bound from entry 0 on" in out
    assert f"verified against checkpoint file {witness}" in out.replace("\n", " ")
    witness.unlink()
    told = installed("audit", "verify", code=1)
    assert told["reason"] == "checkpoint_file_missing"


def test_a_log_whose_bindings_were_deleted_is_found_without_any_setting(
    installed: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed("manufacturer", "create", "a@acme.example", "--company", "Acme Tools")
    assert installed("audit", "verify")["valid"] is True
    assert (place / "gatewright.db.anchor").stat().st_mode & 0o777 == 0o600
    rewrite(place / "gatewright.db")
    told = installed("audit", "verify", code=1)
    assert told["reason"] in {"binding_removed", "checkpoint_mismatch"}
    assert main(["audit", "verify"]) == 1
    assert "NOT INTACT" in capsys.readouterr().out
