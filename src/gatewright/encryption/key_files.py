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

NAMES = ("gatewright_secret_key", "gatewright_encryption_key")
"""The names under which the settings look for the keys in ``GATEWRIGHT_SECRETS_DIR``."""

KEYS_DIRECTORY = "keys"
"""Below the data directory: where keys are kept when no other path is configured."""


def make_keys(directory: Path, names: Sequence[str] = NAMES) -> list[Path]:
    """Make the keys that are missing; the files that were made. What is there stays as it is.

    Several processes may do so at once: each key is made by one of them, and never seen half written.

    Args:
        directory: made when missing, for its owner only (0700).
        names: of the keys.

    Raises:
        ConfigurationError: the directory or a file cannot be written.
    """
    try:
        make_private_directory(directory)
        paths = [directory / name for name in names]
        return [path for path in paths if not path.exists() and _made(path)]
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or directory}: cannot write the keys here ({error.strerror}); "
            "set GATEWRIGHT_DATA_DIR to a writable directory."
        ) from None


def with_keys(settings: Settings) -> Settings:
    """The settings with every root key that a store on disk needs, where they name none.

    The keys are those of the data directory, where ``gatewright init`` puts them too, and are made at the first
    start. Production never comes here without keys, and what lives in memory needs none that outlive it.

    Raises:
        ConfigurationError: the keys cannot be written or read.
    """
    missing = [name for name in NAMES if settings.secret(name.removeprefix("gatewright_")) is None]
    if not missing or settings.mode == "production" or settings.database_path == ":memory:":
        return settings
    from pydantic import SecretStr

    directory = settings.data_dir / KEYS_DIRECTORY
    for path in make_keys(directory, missing):
        _log.warning(
            "key_created", path=str(path), advice="no setting provides this key; back it up apart from the data"
        )
    try:
        found = {name.removeprefix("gatewright_"): (directory / name).read_text().strip() for name in missing}
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename}: cannot read the key ({error.strerror}); make the file readable for this user, or set "
            f"{Path(str(error.filename)).name.upper()}."
        ) from None
    return settings.model_copy(update={name: SecretStr(text) for name, text in found.items()})


def _made(path: Path) -> bool:
    """Whether the key is ours and not that of a process that was quicker."""
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
    """Make a directory that only its owner may enter, and those above it that are missing, whatever the umask; one
    that exists keeps its permissions."""
    for missing in [*reversed(directory.parents), directory]:
        try:
            missing.mkdir(mode=0o700)
        except FileExistsError:
            if not missing.is_dir():
                raise
        except OSError:
            if not missing.is_dir():  # a read-only file system says so before it says that the directory is there
                raise
        else:
            missing.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read, never one that someone else has put there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
