"""A new root key takes the place of the present one, and no key is lost."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gatewright.cli.keys import prepare_new_root
from gatewright.encryption import KEY_NAMES, make_keys
from gatewright.errors import ConfigurationError


def test_a_new_root_keeps_the_old_one_among_the_previous(tmp_path: Path) -> None:
    make_keys(tmp_path)
    path, kept = tmp_path / KEY_NAMES[1], tmp_path / "gatewright_previous_encryption_keys"
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
