"""A new root key in the place of the present one."""

from __future__ import annotations

import secrets
from pathlib import Path

from gatewright.encryption.keyfiles import NAMES, write_private
from gatewright.errors import ConfigurationError


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
