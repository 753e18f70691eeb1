"""Key files: one private file for each root key."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.errors import ConfigurationError
from gatewright.logs import get_logger

if TYPE_CHECKING:
    from gatewright.settings import Settings

_log = get_logger(__name__)

KEY_NAMES = ("gatewright_secret_key", "gatewright_encryption_key")
"""The file names of keys in ``GATEWRIGHT_SECRETS_DIR``."""

KEYS_DIRECTORY = "keys"
"""The directory of keys within the data directory, unless another path is configured."""


def make_keys(directory: Path, names: Sequence[str] = KEY_NAMES) -> list[Path]:
    """Create missing keys, and return their files. Existing keys are kept.

    Safe to call from several processes at once: each key is created by one of them, atomically.

    Args:
        directory: created if missing, with mode 0700.
        names: the names of the keys.

    Raises:
        ConfigurationError: the directory or a file cannot be written.
    """
    try:
        make_private_directory(directory)
        paths = [directory / name for name in names]
        return [path for path in paths if not path.exists() and _create_key(path)]
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write keys to {error.filename or directory}: {error.strerror}. "
            "Set GATEWRIGHT_DATA_DIR to a writable directory."
        ) from None


def with_keys(settings: Settings) -> Settings:
    """The settings, completed with the root keys from the data directory if a store on disk needs them.

    Missing keys are created at the first start, where ``gatewright init`` creates them, too. In production, keys must
    be configured. A store in memory needs no permanent keys.

    Raises:
        ConfigurationError: the keys cannot be written or read.
    """
    missing = [name for name in KEY_NAMES if settings.secret(name.removeprefix("gatewright_")) is None]
    if not missing or settings.mode == "production" or settings.database_path == ":memory:":
        return settings
    from pydantic import SecretStr

    directory = settings.data_dir / KEYS_DIRECTORY
    for path in make_keys(directory, missing):
        _log.warning(
            "key_created", path=str(path), advice="no setting provides this key; back it up separately from the data"
        )
    try:
        found = {name.removeprefix("gatewright_"): (directory / name).read_text().strip() for name in missing}
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the key {error.filename}: {error.strerror}. Make the file readable for this user, or set "
            f"{Path(str(error.filename)).name.upper()}."
        ) from None
    return settings.model_copy(update={name: SecretStr(text) for name, text in found.items()})


def _create_key(path: Path) -> bool:
    """Create a key. Returns False if another process created it first."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_private(draft, secrets.token_hex(32) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def make_private_directory(directory: Path) -> None:
    """Create a directory and its missing parents with mode 0700, regardless of the umask. Existing directories keep
    their permissions."""
    for missing in [*reversed(directory.parents), directory]:
        try:
            missing.mkdir(mode=0o700)
        except FileExistsError:
            if not missing.is_dir():
                raise
        except OSError:
            if not missing.is_dir():  # on a read-only file system the error hides that the directory exists
                raise
        else:
            missing.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a new file with mode 0600. Raises FileExistsError if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
