"""Checks of the machine: clock, files and their permissions, and where keys are stored."""

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
"""No machine that runs this program has an earlier date."""


def check_machine() -> Iterator[Check]:
    """What does not depend on settings."""
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
        return note("detector", "matching by re2", "Install `hyperscan` for a faster engine where there is a wheel.")
    return ok("detector", "matching by Vectorscan")


def check_clock(newest: datetime | None, now: datetime | None = None) -> Check:
    """The wall time, against the last thing that was logged.

    Args:
        newest: the time of the newest event in the audit log.
        now: the time to judge; the present when missing.
    """
    moment = now or datetime.now(UTC)
    remedy = "Set the clock, and keep it with NTP (`timedatectl`): tokens and codes depend on it."
    if moment < RELEASED:
        return finding("clock", f"the clock says {moment:%Y-%m-%d}, which is long past", remedy)
    if newest is not None and (newest - moment).total_seconds() > 5:
        return finding("clock", f"the clock is behind the audit log, whose last event is of {newest:%F %T} UTC", remedy)
    return ok("clock", f"{moment:%Y-%m-%d %H:%M:%S} UTC, monotonic resolution {_resolution():.0f} ns")


def _resolution() -> float:
    import time

    return time.get_clock_info("monotonic").resolution * 1e9


def check_memory_locked_down() -> Iterator[Check]:
    """Whether a crash would write keys into a core file."""
    if sys.platform == "win32":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft == 0:
        yield ok("core dumps", "off")
    else:
        yield note("core dumps", "a crash may write memory, keys included, to disk", "Run with `ulimit -c 0`.")


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


_APART = "Set GATEWRIGHT_KEY_DATABASE to a file elsewhere, best on another disk, and run `gatewright keys move`."


def check_key_files(settings: Settings) -> Iterator[Check]:
    """The file of the key store, before it is opened."""
    place = settings.key_database_path
    if place is None:
        if settings.database_path != ":memory:":
            yield note("key store", "data keys, wrapped, live with the records: one copy takes both", _APART)
        return
    path = Path(place)
    directory = path.resolve().parent
    if not directory.is_dir():
        yield finding("key store", f"{directory} is not there", "Mount or make the directory of the key store.")
        return
    exposed = check_private(path) if path.exists() else None
    if exposed is not None:
        yield exposed
    elif directory.is_relative_to(settings.data_dir.resolve()):
        yield note("key store", f"{place} is in the data directory: one copy takes keys and records", _APART)
    else:
        yield ok("key store", f"{place}, apart from the records; back both up, and never in one place")


async def check_keys_left(foundation: SecurityFoundation) -> Check | None:
    """Whether data keys were left with the records although they have a store of their own."""
    if foundation.key_database is None or not await foundation.store.list_data_keys(limit=1):
        return None
    return finding(
        "key store",
        "data keys are in the store of the records as well",
        "Stop the service and run `gatewright keys move`: it erases them where they are no longer used.",
    )
