"""Argon2id (RFC 9106) in a thread pool with a bounded queue."""

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
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from gatewright.errors import StoreUnavailableError
from gatewright.records import Record

T = TypeVar("T")

TRUSTED_SHARE = 4
"""Trusted callers have one thread for this many, and the same share of the queue; at least one of each."""

_UNREADABLE = "Decoding failed"
"""libargon2's message for a malformed stored hash, which no password matches."""

MAX_PASSWORD_LENGTH = 256
"""Maximum length of a password. Longer ones are rejected before any work is done."""


class Argon2Parameters(Record, frozen=True, kw_only=True):
    """The cost of a hash. The defaults are OWASP's: 19 MiB of memory, two passes, one lane."""

    time_cost: int = 2
    memory_kib: int = 19_456
    parallelism: int = 1


class PasswordCheck(Record, frozen=True, kw_only=True):
    """Whether a password is correct, and whether its hash was made with outdated parameters."""

    right: bool
    needs_rehash: bool = False


class PasswordHashing:
    """Hashes and verifies passwords in threads.

    Trusted callers have their own threads and queue, so that a flood of other attempts neither delays nor rejects them.

    Args:
        parameters: the cost of new hashes. Existing hashes are verified with the parameters that they were made with.
        threads: maximum number of concurrent hashes. Defaults to the number of cores.
        queue_limit: maximum number of hashes that run or wait.
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
        count = threads or os.cpu_count() or 1
        self._everyone = _Lane("gatewright-hashing", count, queue_limit)
        self._trusted = _Lane(
            "gatewright-hashing-trusted", max(1, count // TRUSTED_SHARE), max(1, queue_limit // TRUSTED_SHARE)
        )
        self._decoy: str | None = None

    async def hash(self, password: str, *, trusted: bool = False) -> str:
        """The Argon2id hash of a normalized password.

        Args:
            trusted: use the threads and queue of trusted callers.

        Raises:
            StoreUnavailableError: the queue is full (code ``HASHING_BUSY``), or memory or threads ran out (code
                ``HASHING_UNAVAILABLE``).
        """
        lane = self._trusted if trusted else self._everyone
        return await lane.run(lambda: self._hasher.hash(normalize_password(password)))

    async def verify(self, password_hash: str | None, password: str, *, trusted: bool = False) -> PasswordCheck:
        """Verify a password. Without a hash (unknown account), do the same work and return a wrong result.

        Args:
            trusted: use the threads and queue of trusted callers.

        Raises:
            StoreUnavailableError: the password was not verified, because the queue is full (code ``HASHING_BUSY``), or
                memory or threads ran out (code ``HASHING_UNAVAILABLE``).
        """
        lane = self._trusted if trusted else self._everyone
        return await lane.run(lambda: self._verify(password_hash, password))

    def warm(self) -> None:
        """Create the decoy hash for unknown accounts, so that the first one takes no longer than the others."""
        if self._decoy is None:
            self._decoy = self._hasher.hash(secrets.token_bytes(16))

    async def run(self, work: Callable[[], T]) -> T:
        """Run other short password work in the same pool, such as a look-up in the list of common passwords."""
        return await self._everyone.run(work)

    def close(self) -> None:
        """Finish what is running, and reject new work."""
        self._everyone.close()
        self._trusted.close()

    def _verify(self, password_hash: str | None, password: str) -> PasswordCheck:
        if password_hash is None:
            self.warm()
        stored = password_hash or self._decoy or ""
        try:
            right = self._hasher.verify(stored, normalize_password(password)) and password_hash is not None
        except (VerifyMismatchError, InvalidHashError):
            return PasswordCheck(right=False)
        except VerificationError as error:
            if str(error) != _UNREADABLE:
                raise
            return PasswordCheck(right=False)
        return PasswordCheck(right=right, needs_rehash=right and self._hasher.check_needs_rehash(stored))


class _Lane:
    """A thread pool with a bounded queue. Threads start with the first work."""

    def __init__(self, name: str, threads: int, limit: int) -> None:
        self._name = name
        self._threads = threads
        self._limit = limit
        self._pool: ThreadPoolExecutor | None = None
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread. Raises StoreUnavailableError if it cannot be done."""
        with self._lock:
            if self._busy >= self._limit:
                raise StoreUnavailableError(
                    "Too many passwords are being verified at once. Try again shortly.",
                    code="HASHING_BUSY",
                    retry_after=1,
                )
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            try:
                future = self._pool.submit(work)
            except RuntimeError as error:  # no thread could be started
                raise _unavailable() from error
            self._busy += 1
        future.add_done_callback(self._finished)
        try:
            return await asyncio.wrap_future(future)
        except (MemoryError, HashingError, VerificationError) as error:
            raise _unavailable() from error

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _finished(self, _: Future[T]) -> None:
        with self._lock:
            self._busy -= 1


def _unavailable() -> StoreUnavailableError:
    return StoreUnavailableError(
        "Passwords cannot be verified now: the service is out of memory or threads.",
        code="HASHING_UNAVAILABLE",
        retry_after=5,
    )


def normalize_password(password: str) -> bytes:
    """The bytes to hash: the password in NFKC (SP 800-63B §3.1.1.2), so that it is the same from every keyboard."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
