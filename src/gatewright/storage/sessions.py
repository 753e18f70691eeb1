"""The storage protocol of sessions and refresh-token families."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from gatewright.records import Record


class StoredSession(Record, frozen=True, kw_only=True):
    """A session. The id is not a secret; ``cookie_hash`` is a keyed hash of the secret in the session cookie.

    A refresh extends ``expires_at``, up to ``absolute_expires_at``. ``idle_seconds`` of inactivity end the session
    earlier (None: no idle timeout). It is bound to ``network``, ``agent_family``, ``agent_platform`` and ``device_id``.
    """

    session_id: str
    manufacturer_id: str
    account_id: str | None = None
    company_name: str | None = None
    email: str | None = None
    tier: str | None = None
    roles: list[str] = msgspec.field(default_factory=list)
    created_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    idle_seconds: float | None = None
    last_activity: datetime
    activity_count: int = 0
    ip_address: str | None = None
    user_agent: str | None = None
    network: str | None = None
    agent_family: str | None = None
    agent_platform: str | None = None
    device_id: str | None = None
    factors: list[str] = msgspec.field(default_factory=list)
    mfa_at: datetime | None = None
    cookie_hash: bytes | None = None
    ended_at: datetime | None = None
    ended_reason: str | None = None


class RefreshOutcome(StrEnum):
    """The outcome of presenting a refresh token."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    REUSED = "reused"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class RefreshRotation(Record, frozen=True, kw_only=True):
    """A presented refresh token, and its successor if it is valid.

    ``family_id`` is the family that the token claims. ``client_key`` identifies the presenting client; None never
    matches an earlier client. ``sealed`` is the successor, encrypted under a key derived from the presented token.
    """

    family_id: str
    token_hash: bytes
    successor_hash: bytes
    sealed: bytes
    client_key: bytes | None
    now: datetime
    grace_seconds: float
    successor_expires_at: datetime
    session_expires_at: datetime


class RefreshResult(Record, frozen=True, kw_only=True):
    """The outcome, the resulting ``session``, and the ``sealed`` successor (if rotated or repeated).

    ``seconds_since_rotation`` is the age of the presented token. Refreshing much more often than access tokens expire
    is a risk signal.
    """

    outcome: str
    session: StoredSession | None = None
    sealed: bytes | None = None
    seconds_since_rotation: float | None = None


class SessionStore(Protocol):
    """Sessions and refresh-token families. The end of a session is published under topic ``session``."""

    async def add_session(self, session: StoredSession, *, keep: int | None = None, owner: str) -> list[str]:
        """Add a session; with ``keep``, end the owner's oldest sessions above that number.

        ``owner`` is the column that the limit applies to: ``account_id``, or ``manufacturer_id`` for sessions without
        an account, which are counted separately.

        Returns:
            The ids of the sessions ended with reason ``session_limit``.
        """
        ...

    async def get_session(self, session_id: str) -> StoredSession | None: ...

    async def list_sessions(self, manufacturer_id: str, *, now: datetime, limit: int = 1000) -> list[StoredSession]:
        """List live sessions, newest first."""
        ...

    async def has_used_network(self, account_id: str, network: str, *, since: datetime) -> bool:
        """Whether the account has a session from this network that was used after ``since``. Ended sessions count
        until they are deleted."""
        ...

    async def touch_sessions(self, touches: Mapping[str, tuple[int, datetime]]) -> None:
        """Add to ``activity_count`` and advance ``last_activity`` of many sessions at once."""
        ...

    async def extend_session(self, session_id: str, *, now: datetime, expires_at: datetime) -> StoredSession | None:
        """Extend ``expires_at``, up to the absolute expiry; None if the session is not live."""
        ...

    async def set_session_mfa(self, session_id: str, *, now: datetime, mfa_at: datetime | None) -> bool:
        """Set when a second factor was verified (None: clear it); False if the session is not live."""
        ...

    async def set_session_cookie(self, session_id: str, *, now: datetime, cookie_hash: bytes) -> bool:
        """Set the hash of the secret in the session cookie; False if the session is not live."""
        ...

    async def replace_session(self, session_id: str, successor: StoredSession, *, now: datetime) -> bool:
        """End a session and add its successor, both or neither. The successor takes over its refresh family.

        False if the old session is not live: exactly one of several concurrent callers gets True.
        """
        ...

    async def end_session(self, session_id: str, *, now: datetime, reason: str) -> bool:
        """End a session and its refresh family; False if it is not live."""
        ...

    async def end_sessions(
        self,
        manufacturer_id: str,
        *,
        now: datetime,
        reason: str,
        account_id: str | None = None,
        without_account: bool = False,
        keep: str | None = None,
    ) -> list[str]:
        """End all sessions of a manufacturer or of one account, except ``keep``. Returns the ids of ended sessions.

        ``without_account`` includes sessions without an account.
        """
        ...

    async def delete_expired_sessions(self, *, now: datetime, older_than: datetime) -> int:
        """End expired sessions, and delete those ended before ``older_than``. Returns the number newly expired."""
        ...

    async def add_refresh_family(
        self, session: StoredSession, *, family_id: str, token_hash: bytes, now: datetime, expires_at: datetime
    ) -> None:
        """Start the refresh-token family of a session with its first token."""
        ...

    async def rotate_refresh_token(self, rotation: RefreshRotation) -> RefreshResult:
        """Use a refresh token, in one step.

        The first use rotates the token and extends the session. Reuse by the same client within the grace period
        returns the same successor. Any other reuse revokes the family and ends its session. So does a token that
        claims the family but is unknown, which means that used tokens need not be kept.
        """
        ...

    async def refresh_session_of(self, family_id: str) -> str | None:
        """Return the session of a family."""
        ...
