"""The tally of a scan: bounded, and safe to continue from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.cli.scan_totals import TOP_KEPT, Position, Tally, load, positions_of, save, top
from gatewright.errors import ValidationError


def position_of(tally: Tally, file: Path, beginning: bytes) -> Position:
    return positions_of(tally, {file: beginning})[file]


def test_a_state_that_is_not_there_is_an_empty_tally(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json") == Tally()
    assert load(None) == Tally()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    tally = Tally(lines=7, blocked=2, by_threat_type={"xss": 2})
    position_of(tally, tmp_path / "a.log", b"first line").offset = 10
    save(tally, tmp_path / "state.json")
    assert load(tmp_path / "state.json") == tally
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_is_no_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}}")
    with pytest.raises(ValidationError, match=r"state\.json: not the state of a scan"):
        load(tmp_path / "state.json")


def test_a_rotated_file_starts_anew(tmp_path: Path) -> None:
    tally = Tally()
    position_of(tally, tmp_path / "a.log", b"old beginning").offset = 500
    assert position_of(tally, tmp_path / "a.log", b"old beginning").offset == 500
    assert position_of(tally, tmp_path / "a.log", b"new beginning").offset == 0


def test_a_file_that_has_grown_is_still_itself(tmp_path: Path) -> None:
    tally = Tally()
    position_of(tally, tmp_path / "a.log", b"one\n").offset = 4
    grown = b"one\n" + b"x" * 2_000
    assert position_of(tally, tmp_path / "a.log", grown).offset == 4
    assert position_of(tally, tmp_path / "a.log", b"one\n" + b"y" * 2_000).offset == 0, "it knows more of it by now"


def test_a_renamed_file_is_known_by_how_it_begins(tmp_path: Path) -> None:
    log, older, oldest = tmp_path / "a.log", tmp_path / "a.log.1", tmp_path / "a.log.2.gz"
    tally = Tally()
    position_of(tally, log, b"one").offset = 300
    found = positions_of(tally, {log: b"two", older: b"one"})
    found[log].offset = 7
    assert found[older].offset == 300
    found = positions_of(tally, {oldest: b"one", older: b"two and more", log: b""})
    assert [found[file].offset for file in (oldest, older, log)] == [300, 7, 0]
    assert len(tally.files) == 3


def test_a_copy_is_a_file_of_its_own(tmp_path: Path) -> None:
    tally = Tally()
    beginnings = {tmp_path / "a.log": b"same", tmp_path / "b.log": b"same"}
    positions_of(tally, beginnings)[tmp_path / "a.log"].offset = 9
    found = positions_of(tally, beginnings)
    assert [found[file].offset for file in beginnings] == [9, 0]
    assert position_of(tally, tmp_path / "c.log", b"").offset == 0, "an empty file is nobody's successor"


def test_top_lists_are_bounded_and_keep_the_frequent() -> None:
    tally = Tally()
    for _ in range(50):
        tally.count(tally.clients, "frequent")
    for number in range(5 * TOP_KEPT):
        tally.count(tally.clients, f"rare {number}")
    assert len(tally.clients) <= TOP_KEPT
    assert top(tally.clients, 1) == {"frequent": 50}
