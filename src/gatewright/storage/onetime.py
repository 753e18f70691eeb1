"""One-time secrets: challenges, reset tokens and e-mail verifications, each good for one success."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from gatewright.records import Record


class OneTimeSecret(Record, frozen=True, kw_only=True):
    """Something that may succeed once.

    ``key`` is the keyed hash of what the person holds, never that itself. ``purpose`` keeps the kinds apart,
    ``subject`` says whose it is (an account id, or a hash of an address), ``data`` holds plain JSON values
    without secrets in clear.
    """

    key: str
    purpose: str
    subject: str
    data: Mapping[str, Any]
    attempts: int = 0
    created_at: datetime
    expires_at: datetime


class OneTimeStore(Protocol):
    """Keeps secrets until they succeed or expire.

    A secret that was made more than ``CLOCK_SKEW`` seconds in the future counts as expired: the clock was set back,
    and it would live longer than it should.
    """

    async def put_one_time(self, secret: OneTimeSecret) -> None:
        """Keep a secret; expired ones are cleared away in passing."""
        ...

    async def get_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        """The secret, unless it is used, expired or of another purpose."""
        ...

    async def attempt_one_time(self, purpose: str, key: str, *, now: datetime, limit: int) -> OneTimeSecret | None:
        """As :meth:`get_one_time`, counting one attempt; None once ``limit`` attempts were counted."""
        ...

    async def take_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        """Use the secret up: exactly one of several callers gets it."""
        ...

    async def drop_one_time(self, purpose: str, subject: str) -> int:
        """Forget all secrets of a purpose and subject; returns how many."""
        ...

    async def list_one_time(self, purpose: str, *, after: str = "", limit: int = 100) -> list[OneTimeSecret]:
        """Secrets of a purpose in the order of their keys, those after ``after``; expired ones too."""
        ...

    async def replace_one_time(
        self, purpose: str, key: str, *, expected: Mapping[str, Any], data: Mapping[str, Any]
    ) -> bool:
        """Put ``data`` in the place of ``expected`` (compare-and-set); False when it is not that any more."""
        ...
