"""Production starts only when no one else can read or replace its keys, and says how to mend it."""

from __future__ import annotations

import os
import secrets
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.cli.checks.machine import check_files
from gatewright.encryption import KEY_NAMES, make_keys, make_private_directory, with_keys, write_private
from gatewright.errors import ConfigurationError
from gatewright.settings import Settings

PRODUCTION = {"mode": "production", "public_url": "https://api.example.com"}


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GATEWRIGHT_")]:
        monkeypatch.delenv(name)
    directory = tmp_path / "it's here" / "keys"
    make_keys(directory)
    monkeypatch.setenv("GATEWRIGHT_SECRETS_DIR", str(directory))
    return directory


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177, 0o277, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(**values: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**PRODUCTION, **values)  # type: ignore[arg-type]  # keywords as pydantic takes them
    return str(caught.value)


@pytest.mark.parametrize("given", [0o644, 0o640, 0o604, 0o660, 0o606, 0o666, 0o601])
@pytest.mark.parametrize("name", KEY_NAMES)
def test_a_key_file_that_others_may_use_stops_production(keys: Path, name: str, given: int) -> None:
    assert Settings(**PRODUCTION)  # type: ignore[arg-type]  # keywords as pydantic takes them
    (keys / name).chmod(given)
    told = refusal()
    assert str(keys / name) in told and f"{given:04o}" in told
    (check,) = [c for c in check_files(Settings(data_dir=keys.parent / "none")) if c.subject == "files"]
    assert check.status == "finding" and check.remedy in told
    subprocess.run(shlex.split(check.remedy), check=True)
    assert Settings(**PRODUCTION)  # type: ignore[arg-type]  # keywords as pydantic takes them


@pytest.mark.parametrize("given", [0o755, 0o750, 0o770, 0o777, 0o711])
def test_a_secrets_directory_that_others_may_use_stops_production(keys: Path, given: int) -> None:
    keys.chmod(given)
    assert "chmod 700" in refusal()
    assert any(c.status == "finding" for c in check_files(Settings(data_dir=keys.parent / "none")))


@pytest.mark.parametrize(
    "variable", ["SECRET_KEY", "ENCRYPTION_KEY", "PREVIOUS_SECRET_KEYS", "PREVIOUS_ENCRYPTION_KEYS", "SMTP_PASSWORD"]
)
def test_a_named_file_that_others_may_read_stops_production(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = tmp_path / "named"
    write_private(path, secrets.token_hex(32))
    monkeypatch.setenv(f"GATEWRIGHT_{variable}_FILE", str(path))
    assert Settings(**PRODUCTION)  # type: ignore[arg-type]  # keywords as pydantic takes them
    path.chmod(0o644)
    told = refusal()
    assert f"GATEWRIGHT_{variable}_FILE" in told and f"chmod 600 {path}" in told


def test_a_link_is_judged_by_what_it_leads_to(keys: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(secrets.token_hex(32))
    elsewhere.chmod(0o644)
    (keys / KEY_NAMES[0]).unlink()
    (keys / KEY_NAMES[0]).symlink_to(elsewhere)
    assert "0644" in refusal()


def test_development_starts_and_the_doctor_tells(keys: Path) -> None:
    (keys / KEY_NAMES[0]).chmod(0o644)
    settings = Settings(data_dir=keys.parent / "none")
    assert any(c.status == "finding" and KEY_NAMES[0] in c.detail for c in check_files(settings))


@pytest.mark.usefixtures("umask")
def test_what_we_make_is_private_whatever_the_umask(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b" / "keys"
    made = make_keys(directory)
    assert {mode(path) for path in made} == {0o600}
    assert {mode(path) for path in (tmp_path / "a", tmp_path / "a" / "b", directory)} == {0o700}


@pytest.mark.usefixtures("umask")
def test_the_data_directory_of_a_first_start_is_private(tmp_path: Path) -> None:
    with_keys(Settings(data_dir=tmp_path / "data"))
    assert mode(tmp_path / "data") == mode(tmp_path / "data" / "keys") == 0o700


def test_a_directory_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_directory(tmp_path)
    assert mode(tmp_path) == 0o755
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        make_private_directory(tmp_path / "file")
