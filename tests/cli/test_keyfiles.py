"""Key files are private and never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gatewright.cli.keyfiles import NAMES, make_keys, prepare_new_root, write_private
from gatewright.errors import ConfigurationError
from gatewright.settings import key_bytes


def test_keys_are_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "keys"
    made = make_keys(directory)
    assert [path.name for path in made] == list(NAMES)
    before = [path.read_text() for path in made]
    assert make_keys(directory) == []
    assert [path.read_text() for path in made] == before
    assert len(set(before)) == 2


def test_keys_have_256_bits_and_are_closed_to_others(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        made = make_keys(tmp_path / "keys")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(key_bytes(path.read_text())) == 32


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "trap").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "trap", "secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="GATEWRIGHT_DATA_DIR"):
        make_keys(tmp_path / "file" / "keys")


def test_a_new_root_keeps_the_old_one_among_the_previous(tmp_path: Path) -> None:
    make_keys(tmp_path)
    path, kept = tmp_path / NAMES[1], tmp_path / "gatewright_previous_encryption_keys"
    first = path.read_text().strip()
    prepare_new_root(tmp_path)
    second = path.read_text().strip()
    prepare_new_root(tmp_path)
    assert len({first, second, path.read_text().strip()}) == 3
    assert kept.read_text() == f"{second},{first}\n"
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_root_that_is_kept_elsewhere_is_not_prepared_here(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS"):
        prepare_new_root(tmp_path)
