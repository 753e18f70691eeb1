"""The machine: Python, OpenSSL, the matching engine, the clock."""

from __future__ import annotations

import platform
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from gatewright.cli.checks.result import Check, finding, note, ok

RELEASED = datetime(2025, 1, 1, tzinfo=UTC)
"""No machine that runs this program has an earlier date."""


def check_machine() -> Iterator[Check]:
    """What does not depend on settings."""
    yield ok("python", f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}")
    yield _openssl()
    yield _matching_engine()


def _openssl() -> Check:
    from cryptography.hazmat.backends.openssl.backend import backend

    from gatewright.encryption.fips import fips_sentence

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
