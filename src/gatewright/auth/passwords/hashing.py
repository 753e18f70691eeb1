"""Argon2id (RFC 9106) in a pool of threads that never grows and never queues without end."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError

from gatewright.errors import StoreUnavailableError
from gatewright.records import Record

T = TypeVar("T")

MAX_PASSWORD_LENGTH = 256
"""Characters that are taken at all: bounded before any work is spent."""


class Argon2Parameters(Record, frozen=True, kw_only=True):
    """The cost of one hash. The default is OWASP's: 19 MiB, two passes, one lane."""

    time_cost: int = 2
    memory_kib: int = 19_456
    parallelism: int = 1


class PasswordCheck(Record, frozen=True, kw_only=True):
    """Whether a password is right, and whether its hash was made with other parameters than today's."""

    right: bool
    needs_rehash: bool = False


class PasswordHashing:
    """Hashes and verifies off the event loop.

    Args:
        parameters: of new hashes; older hashes verify with their own.
        threads: how many hashes run at once; the number of cores by default.
        queue_limit: how many may wait or run at once, before memory or patience runs out.
    """

    def __init__(
        self, parameters: Argon2Parameters | None = None, *, threads: int | None = None, queue_limit: int = 256
    ) -> None:
        chosen = parameters or Argon2Parameters()
        self._hasher = PasswordHasher(
            time_cost=chosen.time_cost,
            memory_cost=chosen.memory_kib,
            parallelism=chosen.parallelism,
            hash_len=32,
            salt_len=16,
            type=Type.ID,
        )
        self._threads = threads or os.cpu_count() or 1
        self._limit = queue_limit
        self._pool: ThreadPoolExecutor | None = None
        self._busy = 0
        self._lock = threading.Lock()
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The Argon2id hash of a password, normalised.

        Raises:
            StoreUnavailableError: too many wait already (code ``HASHING_BUSY``).
        """
        return await self._run(lambda: self._hasher.hash(normalise_password(password)))

    async def verify(self, password_hash: str | None, password: str) -> PasswordCheck:
        """Check a password. Without a hash (nobody is known there) the same work is done for nothing.

        Raises:
            StoreUnavailableError: too many wait already (code ``HASHING_BUSY``).
        """
        return await self._run(lambda: self._verify(password_hash, password))

    def warm(self) -> None:
        """Make the hash that stands in for nobody, so that the first unknown address costs what all others do."""
        if self._decoy is None:
            self._decoy = self._hasher.hash(secrets.token_bytes(16))

    async def run(self, work: Callable[[], T]) -> T:
        """Run other short work of passwords (a look-up in a long list) in the same bounded pool."""
        return await self._run(work)

    def close(self) -> None:
        """Let what runs end, and take nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _verify(self, password_hash: str | None, password: str) -> PasswordCheck:
        if password_hash is None:
            self.warm()
        stored = password_hash or self._decoy or ""
        try:
            right = self._hasher.verify(stored, normalise_password(password)) and password_hash is not None
        except (Argon2Error, InvalidHashError):
            return PasswordCheck(right=False)
        return PasswordCheck(right=right, needs_rehash=right and self._hasher.check_needs_rehash(stored))

    async def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._busy >= self._limit:
                raise StoreUnavailableError(
                    "Too many passwords are being checked at once.", code="HASHING_BUSY", retry_after=1
                )
            self._busy += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="gatewright-hashing")
            future = self._pool.submit(work)
        future.add_done_callback(self._finished)
        return await asyncio.wrap_future(future)

    def _finished(self, _: Future[T]) -> None:
        with self._lock:
            self._busy -= 1


def normalise_password(password: str) -> bytes:
    """The bytes that are hashed: Unicode in form NFKC (SP 800-63B §3.1.1.2), so that a password typed on another
    keyboard is the same."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
