"""Checks of the machine: clock, file permissions, disk, and the location of the key store."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gatewright.cli.checks import Check, finding, note, ok
from gatewright.settings import Settings, exposure, secret_paths

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation
    from gatewright.settings import Settings


RELEASED = datetime(2025, 1, 1, tzinfo=UTC)
"""The clock is wrong if it is earlier than this."""


def check_machine() -> Iterator[Check]:
    """Checks that do not depend on settings."""
    yield ok("python", f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}")
    yield _openssl()
    yield _matching_engine()


def _openssl() -> Check:
    from cryptography.hazmat.backends.openssl.backend import backend

    from gatewright.encryption.compliance import fips_sentence

    version = backend.openssl_version_text()
    return ok("openssl", f"{version} for encryption, {ssl.OPENSSL_VERSION} for TLS; {fips_sentence()}")


def _matching_engine() -> Check:
    try:
        import hyperscan  # noqa: F401 - only whether it is there
    except ImportError:
        return note(
            "detector",
            "pattern matching by RE2",
            "Install `hyperscan`, which is faster, if there is a wheel for this platform.",
        )
    return ok("detector", "pattern matching by Vectorscan")


def check_clock(newest: datetime | None, now: datetime | None = None) -> Check:
    """Compare the wall clock with the latest audit event.

    Args:
        newest: the time of the latest event in the audit log.
        now: the time to check. Defaults to the current time.
    """
    moment = now or datetime.now(UTC)
    remedy = "Set the clock and enable NTP (`timedatectl`). Tokens and codes depend on it."
    if moment < RELEASED:
        return finding("clock", f"the clock is wrong: it is set to {moment:%Y-%m-%d}", remedy)
    if newest is not None and (newest - moment).total_seconds() > 5:
        return finding(
            "clock", f"the clock is behind the audit log, whose latest event is from {newest:%F %T} UTC", remedy
        )
    return ok("clock", f"{moment:%Y-%m-%d %H:%M:%S} UTC, monotonic resolution {_resolution():.0f} ns")


def _resolution() -> float:
    import time

    return time.get_clock_info("monotonic").resolution * 1e9


def check_memory_locked_down() -> Iterator[Check]:
    """Check that a crash cannot write keys to a core dump."""
    if sys.platform == "win32":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft == 0:
        yield ok("core dumps", "disabled")
    else:
        yield note("core dumps", "a crash may write memory, including keys, to disk", "Run with `ulimit -c 0`.")


LEAST_FREE = 256 * 1024 * 1024
"""Free disk space, in bytes, below which writes may soon fail."""


def check_files(settings: Settings) -> Iterator[Check]:
    """Check key files, the data directory and its contents, and the disk."""
    secret = [path for _, path in secret_paths()]
    kept = _kept_files(settings)
    open_ones = [check for path in secret if (check := check_secret(path)) is not None]
    open_ones += [check for path in kept if (check := check_private(path)) is not None]
    yield from open_ones
    if not open_ones:
        count = len(secret) + len(kept)
        yield ok("files", f"{count} files and directories are private" if count else "none on disk yet")
    yield from _disk(settings.data_dir)


def _kept_files(settings: Settings) -> list[Path]:
    """Files written by the service: the store, the outbox, credentials, the spool."""
    found = [path for path in sorted(settings.data_dir.glob("*")) if path.name != "keys"]
    if settings.data_dir.exists():
        found.insert(0, settings.data_dir)
    for path in (Path(settings.database_path), settings.outbox_file):
        if path is not None and path.exists() and path.resolve().parent != settings.data_dir.resolve():
            found.append(path)
    return found


def check_secret(path: Path) -> Check | None:
    """A finding if production would refuse this key file or directory, or if it is missing."""
    try:
        fault = exposure(path)
    except OSError as error:
        return finding(
            "files", f"{path}: {error.strerror}", "Correct the path, or make the file readable for this user."
        )
    return finding("files", *fault) if fault is not None else check_private(path)


def check_private(path: Path) -> Check | None:
    """A finding if other users can access the file, or if it is missing.

    A readable file in a private directory is fine.
    """
    try:
        status = path.stat()
    except OSError as error:
        return finding(
            "files", f"{path}: {error.strerror}", "Correct the path, or make the file readable for this user."
        )
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0:
        return None
    if mode & 0o077:
        wanted = "700" if stat.S_ISDIR(status.st_mode) else "600"
        return finding("files", f"{path} has mode {mode:04o}: other users can access it", f"chmod {wanted} {path}")
    if status.st_uid not in (os.geteuid(), 0):
        return finding("files", f"{path} belongs to user {status.st_uid}", f"chown {os.geteuid()} {path}")
    return None


def _disk(directory: Path) -> Iterator[Check]:
    place = next((p for p in (directory, *directory.absolute().parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:,.1f} GB free at {place}"
    if free < LEAST_FREE:
        yield finding("disk", text, "Free up space. On a full disk, writes fail with 507.")
    else:
        yield ok("disk", text)


_APART = "Set GATEWRIGHT_KEY_DATABASE to a file elsewhere, preferably on another disk, and run `gatewright keys move`."


def check_key_files(settings: Settings) -> Iterator[Check]:
    """Check the file of the key store."""
    place = settings.key_database_path
    if place is None:
        if settings.database_path != ":memory:":
            yield note("key store", "wrapped data keys are stored with the records: one backup contains both", _APART)
        return
    path = Path(place)
    directory = path.resolve().parent
    if not directory.is_dir():
        yield finding("key store", f"{directory} does not exist", "Mount or create the directory of the key store.")
        return
    exposed = check_private(path) if path.exists() else None
    if exposed is not None:
        yield exposed
    elif directory.is_relative_to(settings.data_dir.resolve()):
        yield note("key store", f"{place} is in the data directory: one backup contains keys and records", _APART)
    else:
        yield ok("key store", f"{place}, separate from the records; back up both, in different places")


async def check_keys_left(foundation: SecurityFoundation) -> Check | None:
    """Check that no data keys remain with the records if there is a separate key store."""
    if foundation.key_database is None or not await foundation.store.list_data_keys(limit=1):
        return None
    return finding(
        "key store",
        "data keys remain in the store of records",
        "Stop the service and run `gatewright keys move`: it removes them there.",
    )
