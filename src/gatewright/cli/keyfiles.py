"""Key files: one file for each root key, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gatewright.errors import ConfigurationError

NAMES = ("gatewright_secret_key", "gatewright_encryption_key")
"""The names under which the settings look for the keys in ``GATEWRIGHT_SECRETS_DIR``."""


def make_keys(directory: Path) -> list[Path]:
    """Make the keys that are missing; the files that were made. What is there stays as it is.

    Args:
        directory: made when missing, for its owner only (0700).

    Raises:
        ConfigurationError: the directory or a file cannot be written.
    """
    made = []
    try:
        make_private_directory(directory)
        for name in NAMES:
            path = directory / name
            if not path.exists():
                write_private(path, secrets.token_hex(32) + "\n")
                made.append(path)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or directory}: the keys cannot be written here ({error.strerror}); "
            "set GATEWRIGHT_DATA_DIR to a directory that this user may write."
        ) from None
    return made


def prepare_new_root(directory: Path) -> None:
    """Make a new root key of data at rest; the present one stays among the previous ones, which still unwrap.

    The previous keys are written first: after a crash in between, no key is lost.

    Raises:
        ConfigurationError: the root key is not in a file of this directory.
    """
    path, kept = directory / NAMES[1], directory / "gatewright_previous_encryption_keys"
    if not path.exists():
        raise ConfigurationError(
            f"{path}: the root key is not here; set the new key in GATEWRIGHT_ENCRYPTION_KEY, and the old one in "
            "GATEWRIGHT_PREVIOUS_ENCRYPTION_KEYS, where you keep them."
        )
    present = path.read_text().strip()
    previous = [key for key in kept.read_text().strip().split(",") if key] if kept.exists() else []
    if present not in previous:
        _replace_private(kept, ",".join([present, *previous]) + "\n")
    _replace_private(path, secrets.token_hex(32) + "\n")


def _replace_private(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    write_private(fresh, text)
    fresh.replace(path)


def make_private_directory(directory: Path) -> None:
    """Make a directory that only its owner may enter; one that exists keeps its permissions."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read, never one that somebody else has put there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
