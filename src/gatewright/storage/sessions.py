"""The storage protocol of sessions and refresh-token families."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from gatewright.records import Record


class StoredSession(Record, frozen=True, kw_only=True):
    """A session. The id is a handle; ``cookie_hash`` is the keyed hash of the secret that a cookie carries.

    ``expires_at`` moves when the session is refreshed, never beyond ``absolute_expires_at``; ``idle_seconds``
    without use end it earlier (None: they do not). ``network``, ``agent_family``, ``agent_platform`` and
    ``device_id`` are what it was bound to.
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
    """What became of a refresh token that was presented."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    REUSED = "reused"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class RefreshRotation(Record, frozen=True, kw_only=True):
    """A refresh token presented, and what takes its place if it is good.

    ``family_id`` is the family that the token names, rightly or not. ``client_key`` represents the client that
    presents it; None is never the same client as before. ``sealed`` is the successor encrypted under a key that
    only the presented token yields.
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
    """The outcome; ``session`` as it is afterwards, ``sealed`` the successor to open (rotated, repeated).

    ``seconds_since_rotation`` is the age of the token that was presented: refreshes much faster than access
    tokens expire are a signal of risk.
    """

    outcome: str
    session: StoredSession | None = None
    sealed: bytes | None = None
    seconds_since_rotation: float | None = None


class SessionStore(Protocol):
    """Sessions and refresh families. Whatever ends a session is a change of topic ``session``."""

    async def add_session(self, session: StoredSession, *, keep: int | None = None, owner: str) -> list[str]:
        """Add a session; with ``keep``, end the owner's oldest ones above that many.

        ``owner`` is the column that the limit counts by: ``account_id``, or ``manufacturer_id`` for sessions
        without an account, which are counted among themselves.

        Returns:
            The ids that were ended, for reason ``session_limit``.
        """
        ...

    async def get_session(self, session_id: str) -> StoredSession | None: ...

    async def list_sessions(self, manufacturer_id: str, *, now: datetime, limit: int = 1000) -> list[StoredSession]:
        """Those that are alive, newest first."""
        ...

    async def has_used_network(self, account_id: str, network: str, *, since: datetime) -> bool:
        """Whether a session of the account was signed in from this network and last used since then; one that has
        ended counts as long as it is kept."""
        ...

    async def touch_sessions(self, touches: Mapping[str, tuple[int, datetime]]) -> None:
        """Add to ``activity_count`` and move ``last_activity`` up, for many sessions at once."""
        ...

    async def extend_session(self, session_id: str, *, now: datetime, expires_at: datetime) -> StoredSession | None:
        """Move ``expires_at`` up (never beyond the absolute end) if the session is alive; None when it is not."""
        ...

    async def set_session_mfa(self, session_id: str, *, now: datetime, mfa_at: datetime | None) -> bool:
        """Note when a second factor was shown (None: forget it); False when the session is not alive."""
        ...

    async def set_session_cookie(self, session_id: str, *, now: datetime, cookie_hash: bytes) -> bool:
        """Keep the hash of the secret that the session's cookie carries; False when it is not alive."""
        ...

    async def replace_session(self, session_id: str, successor: StoredSession, *, now: datetime) -> bool:
        """End a session and add its successor, both or neither; its refresh family goes over to the successor.

        False when the old one is not alive (any more): exactly one of several concurrent callers gets True.
        """
        ...

    async def end_session(self, session_id: str, *, now: datetime, reason: str) -> bool:
        """End a session and its refresh family; False when it is not alive."""
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
        """End all sessions of a manufacturer (or of one account), but ``keep``; the ids that were ended.

        With ``without_account``, those of ``account_id`` and those of no one.
        """
        ...

    async def delete_expired_sessions(self, *, now: datetime, older_than: datetime) -> int:
        """End what has expired, delete what ended before ``older_than``; how many expired now."""
        ...

    async def add_refresh_family(
        self, session: StoredSession, *, family_id: str, token_hash: bytes, now: datetime, expires_at: datetime
    ) -> None:
        """Begin a family for a session with its first token."""
        ...

    async def rotate_refresh_token(self, rotation: RefreshRotation) -> RefreshResult:
        """Use a refresh token, in one step.

        The first use rotates it and moves the session's expiry. A second use by the same client within the
        grace gets the same successor. Any other second use revokes the family and ends its session; so does a
        token that names the family and is no longer one of its tokens, so used ones need not be kept.
        """
        ...

    async def refresh_session_of(self, family_id: str) -> str | None:
        """The session that a family belongs to."""
        ...
