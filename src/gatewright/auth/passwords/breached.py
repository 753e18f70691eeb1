"""Breached passwords by the k-anonymity range protocol: only five digits of a hash ever leave the house."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from gatewright.auth.passwords.hashing import normalise_password
from gatewright.clock import Clock, SystemClock
from gatewright.errors import ConfigurationError
from gatewright.events import EventSink, NullSink, Severity, event

MAX_ANSWER = 1_048_576
"""Bytes of an answer that are read."""


class BreachedPasswords:
    """Asks a range service whether a password is known; one that does not answer hinders nobody.

    Args:
        url: its range address, HTTPS (or this machine); the first five hex digits of the SHA-1 are appended.
        timeout: seconds.
    """

    def __init__(
        self, url: str, *, timeout: float = 2.0, events: EventSink | None = None, clock: Clock | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
            raise ConfigurationError(
                f"GATEWRIGHT_BREACHED_PASSWORDS_URL={url}: must be an https:// address;"
                " set it to the service's range address, or remove it.",
                context={"setting": "GATEWRIGHT_BREACHED_PASSWORDS_URL"},
            )
        self._url = url.rstrip("/") + "/"
        self._timeout = timeout
        self._events = events or NullSink()
        self._clock = clock or SystemClock()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="gatewright-breached")

    async def __call__(self, password: str) -> bool:
        """Whether the password is known from a breach."""
        digest = hashlib.sha1(normalise_password(password), usedforsecurity=False).hexdigest().upper()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, digest[:5])
        except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
            self._events.emit(
                event(
                    "auth:breached_passwords:unavailable",
                    severity=Severity.WARNING,
                    timestamp=self._clock.now(),
                    fault=type(error).__name__,
                )
            )
            return False
        return _contains(answer, digest[5:])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, prefix: str) -> str:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url + prefix, headers={"Add-Padding": "true", "User-Agent": "gatewright"}
        )
        with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
            return str(response.read(MAX_ANSWER).decode("ascii", "replace"))


def _contains(answer: str, suffix: str) -> bool:
    """Whether a line ``SUFFIX:COUNT`` has the suffix and a count above 0 (padding lines have 0)."""
    found = False
    for line in answer.splitlines():
        name, _, count = line.strip().partition(":")
        if hmac.compare_digest(name.upper().encode(), suffix.encode()) and count.strip().isdecimal():
            found = found or int(count[:12]) > 0
    return found
