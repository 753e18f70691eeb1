"""Permissions of files: what holds secrets or data must be closed to everybody but its owner."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from gatewright.cli.checks.result import Check, finding, ok
from gatewright.secret_files import exposure
from gatewright.settings import Settings, secret_paths

LEAST_FREE = 256 * 1024 * 1024
"""Bytes of free disk below which the store may soon have to refuse writes."""


def check_files(settings: Settings) -> Iterator[Check]:
    """The key files, the data directory and everything in it, and the disk."""
    secret = [path for _, path in secret_paths()]
    kept = _kept_files(settings)
    open_ones = [check for path in secret if (check := check_secret(path)) is not None]
    open_ones += [check for path in kept if (check := check_private(path)) is not None]
    yield from open_ones
    if not open_ones:
        count = len(secret) + len(kept)
        yield ok("files", f"{count} files and directories are closed to other users" if count else "none on disk yet")
    yield from _disk(settings.data_dir)


def _kept_files(settings: Settings) -> list[Path]:
    """What the service writes: the store with its side files, the outbox, credentials, the spool."""
    found = [path for path in sorted(settings.data_dir.glob("*")) if path.name != "keys"]
    if settings.data_dir.exists():
        found.insert(0, settings.data_dir)
    for path in (Path(settings.database_path), settings.outbox_file):
        if path is not None and path.exists() and path.resolve().parent != settings.data_dir.resolve():
            found.append(path)
    return found


def check_secret(path: Path) -> Check | None:
    """A finding when production would refuse to start on this key file or directory, or it is not there."""
    try:
        fault = exposure(path)
    except OSError as error:
        return finding("files", f"{path}: {error.strerror}", "Give the path of a file that this user may read.")
    return finding("files", *fault) if fault is not None else check_private(path)


def check_private(path: Path) -> Check | None:
    """A finding when other users may read or write the file, or it is not there; None when all is well.

    A file that others may read is covered by a directory that they may not enter.
    """
    try:
        facts = path.stat()
    except OSError as error:
        return finding("files", f"{path}: {error.strerror}", "Give the path of a file that this user may read.")
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0:
        return None
    if mode & 0o077:
        wanted = "700" if stat.S_ISDIR(facts.st_mode) else "600"
        return finding("files", f"{path} has mode {mode:04o}: other users may use it", f"chmod {wanted} {path}")
    if facts.st_uid not in (os.geteuid(), 0):
        return finding("files", f"{path} belongs to user {facts.st_uid}", f"chown it to user {os.geteuid()}")
    return None


def _disk(directory: Path) -> Iterator[Check]:
    place = next((p for p in (directory, *directory.absolute().parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:,.1f} GB free at {place}"
    if free < LEAST_FREE:
        yield finding("disk", text, "Make room: with a full disk writes answer 507.")
    else:
        yield ok("disk", text)
