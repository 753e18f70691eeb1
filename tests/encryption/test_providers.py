"""Secret providers: each fault has its own clear error, and secrets stay hidden."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from gatewright.encryption import (
    DirectoryProvider,
    EnvironmentProvider,
    FileProvider,
    PassphraseProvider,
    Secret,
    SecretProvider,
)
from gatewright.errors import KeyUnavailableError

LONG = "ab" * 32


async def fault(provider: SecretProvider, name: str = "encryption_key") -> KeyUnavailableError:
    with pytest.raises(KeyUnavailableError) as caught:
        await provider.get(name)
    assert caught.value.recommended_action and LONG not in str(caught.value)
    return caught.value


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


async def test_the_environment() -> None:
    provider = EnvironmentProvider(environment={"GATEWRIGHT_ENCRYPTION_KEY": f" {LONG}\n", "GATEWRIGHT_SHORT": "abc"})
    assert (await provider.get("encryption_key")).text() == LONG
    await provider.check()
    assert "GATEWRIGHT_OTHER" in str(await fault(provider, "other"))
    assert (await fault(provider, "other")).code == "SECRET_MISSING"
    assert (await fault(provider, "short")).code == "SECRET_TOO_SHORT"
    assert (await provider.get("short", shortest=3)).reveal() == b"abc"
    assert "GATEWRIGHT_" in provider.name


async def test_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    provider = FileProvider(written(tmp_path / "key", LONG + "\n"))
    assert (await provider.get("encryption_key")).text() == LONG
    await provider.check()
    for mode in (0o640, 0o604, 0o644, 0o660, 0o666, 0o610):
        (tmp_path / "key").chmod(mode)
        error = await fault(provider)
        assert error.code == "SECRET_EXPOSED" and "chmod 600" in error.recommended_action
        with pytest.raises(KeyUnavailableError):
            await provider.check()


async def test_files_that_are_no_secrets(tmp_path: Path) -> None:
    assert (await fault(FileProvider(tmp_path / "none"))).code == "SECRET_MISSING"
    assert (await fault(FileProvider(tmp_path))).code == "SECRET_UNREADABLE"
    assert (await fault(FileProvider(written(tmp_path / "empty", "")))).code == "SECRET_MISSING"
    assert (await fault(FileProvider(written(tmp_path / "short", "abc")))).code == "SECRET_TOO_SHORT"
    assert (await fault(FileProvider(written(tmp_path / "huge", "x" * 70_000)))).code == "SECRET_UNREADABLE"
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert (await fault(FileProvider(tmp_path / "pipe"))).code == "SECRET_UNREADABLE"
    assert (await fault(FileProvider("/dev/null/x"))).code == "SECRET_UNREADABLE"
    assert str(tmp_path) in FileProvider(tmp_path / "key").name


async def test_a_file_of_another_user(tmp_path: Path) -> None:
    path = written(tmp_path / "key", LONG)
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    os.chown(path, 12345, 12345)
    assert (await fault(FileProvider(path))).code == "SECRET_EXPOSED"


async def test_a_directory_of_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    provider = DirectoryProvider(folder, prefix="gatewright_")
    written(folder / "gatewright_encryption_key", LONG, 0o440)
    assert (await provider.get("encryption_key")).text() == LONG
    await provider.check()
    (folder / "gatewright_encryption_key").chmod(0o444)
    assert (await fault(provider)).code == "SECRET_EXPOSED"
    folder.chmod(0o700)
    assert (await provider.get("encryption_key")).text() == LONG, "nobody else comes into the directory"
    (folder / "gatewright_encryption_key").chmod(0o462)
    assert (await fault(provider)).code == "SECRET_EXPOSED"
    for name in ("../key", "a/b", "", ".hidden", "x" * 101):
        assert (await fault(provider, name)).code == "SECRET_MISSING"
    with pytest.raises(KeyUnavailableError):
        await DirectoryProvider(tmp_path / "none").check()
    assert str(folder) in provider.name


async def test_a_passphrase_for_development() -> None:
    provider = PassphraseProvider("correct horse battery", cost=2**10)
    first, second = await provider.get("encryption_key"), await provider.get("secret_key")
    assert len(first) == 32 and first.reveal() != second.reveal()
    assert (await PassphraseProvider("correct horse battery", cost=2**10).get("secret_key")).reveal() == second.reveal()
    await provider.check()
    assert "correct" not in repr(provider) + provider.name
    with pytest.raises(KeyUnavailableError):
        PassphraseProvider("short")


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(LONG.encode())
    assert LONG not in f"{secret} {secret!r} {secret!s:>10} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
