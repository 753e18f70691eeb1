"""Key files are private, never overwritten, and created once by concurrent processes."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gatewright.encryption import KEY_NAMES, make_keys, with_keys, write_private
from gatewright.errors import ConfigurationError
from gatewright.settings import Settings, key_bytes

GIVEN = "8f1c03b7a955e2d64f21" * 4


def test_keys_are_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "keys"
    made = make_keys(directory)
    assert [path.name for path in made] == list(KEY_NAMES)
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


def test_of_many_that_start_at_once_one_makes_each_key(tmp_path: Path) -> None:
    def start(_: int) -> tuple[int, list[str]]:
        made = make_keys(tmp_path / "keys")
        return len(made), [(tmp_path / "keys" / name).read_text() for name in KEY_NAMES]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(start, range(40)))
    assert sum(made for made, _ in results) == len(KEY_NAMES)
    assert len({tuple(read) for _, read in results}) == 1
    assert {path.name for path in (tmp_path / "keys").iterdir()} == set(KEY_NAMES)


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "trap").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "trap", "secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="GATEWRIGHT_DATA_DIR"):
        make_keys(tmp_path / "file" / "keys")


def test_settings_without_keys_get_those_of_the_data_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = with_keys(Settings(data_dir=tmp_path))
    again = with_keys(Settings(data_dir=tmp_path))
    for name in ("secret_key", "encryption_key"):
        key = settings.secret_text(name)
        assert key and key == again.secret_text(name) == (tmp_path / "keys" / f"gatewright_{name}").read_text().strip()
        assert key not in caplog.text
    assert settings.secret_text("secret_key") != settings.secret_text("encryption_key")


def test_a_key_that_is_named_is_the_key(tmp_path: Path) -> None:
    settings = with_keys(Settings(data_dir=tmp_path, secret_key=GIVEN))
    assert settings.secret_text("secret_key") == GIVEN
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["gatewright_encryption_key"]


def test_what_lives_in_memory_makes_no_files(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database=":memory:")
    assert with_keys(settings) is settings
    assert not (tmp_path / "data").exists()


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys" / KEY_NAMES[0]).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="GATEWRIGHT_SECRET_KEY"):
        with_keys(Settings(data_dir=tmp_path))
