"""The session service: creation, validation, extension, rotation and end of sessions."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, NoReturn

import msgspec

from gatewright import event_kinds
from gatewright._async import uninterrupted
from gatewright.auth.client_signals import PlaceLookup, network_key, read_agent
from gatewright.auth.records import ClientInfo, ManufacturerSession
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.status_cache import SessionCache, is_alive
from gatewright.clock import Clock
from gatewright.errors import AuthenticationError, MFARequiredError, StorageError
from gatewright.events import EventSink, Severity, event
from gatewright.records import Record
from gatewright.storage.sessions import SessionStore, StoredSession

_ID_BYTES = 24
_FLUSH_SECONDS = 1.0
_MAX_ID_LENGTH = 128


class SessionRules(Record, frozen=True, kw_only=True):
    """How long sessions live and how many there may be.

    ``lifetime`` is for a session that is not refreshed, ``absolute`` for one that is; ``idle`` ends an unused
    one earlier. ``limit`` is how many an account may have at once (the oldest ends); None: any number. Ended
    ones stay for ``keep_ended``, so that a late second use of their tokens is still recognized.
    """

    lifetime: timedelta = timedelta(hours=24)
    absolute: timedelta = timedelta(days=90)
    idle: timedelta | None = None
    limit: int | None = None
    keep_ended: timedelta = timedelta(days=30)


class NewSession(Record, frozen=True, kw_only=True):
    """What a session is made of."""

    manufacturer_id: str
    account_id: str | None = None
    company_name: str | None = None
    email: str | None = None
    tier: str | None = None
    roles: list[str] = msgspec.field(default_factory=list)
    client: ClientInfo | None = None
    factors: list[str] = msgspec.field(default_factory=list)
    mfa_at: datetime | None = None
    device_id: str | None = None
    lifetime: timedelta | None = None


class SessionService:
    """Keeps sessions.

    Args:
        store: where they are kept.
        states: what this process knows of them.
        cookies: hashes the secrets that cookies carry.
        admits: whether a manufacturer, and a person in it, may act now; the sessions of one that may not are as good
            as ended.
        places: offline data about networks, for the listing.
    """

    def __init__(
        self,
        *,
        store: SessionStore,
        states: SessionCache,
        cookies: KeyedHash,
        clock: Clock,
        sink: EventSink,
        rules: SessionRules,
        admits: Callable[[str, str | None], Awaitable[bool]],
        places: PlaceLookup | None = None,
    ) -> None:
        self._store = store
        self._states = states
        self._cookies = cookies
        self._clock = clock
        self._sink = sink
        self._rules = rules
        self._admits = admits
        self._places = places
        self._touches: dict[str, tuple[int, datetime]] = {}
        self._flushing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Write what use was not written yet."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        await self.flush()

    async def create(self, new: NewSession) -> StoredSession:
        """Make a session; beyond the limit the account's oldest one ends."""
        now = self._clock.now()
        client = new.client or ClientInfo()
        agent = read_agent(client.user_agent) if client.user_agent else None
        session = StoredSession(
            session_id=new_session_id(),
            manufacturer_id=new.manufacturer_id,
            account_id=new.account_id,
            company_name=new.company_name,
            email=new.email,
            tier=new.tier,
            roles=new.roles,
            created_at=now,
            expires_at=now + min(new.lifetime or self._rules.lifetime, self._rules.absolute),
            absolute_expires_at=now + self._rules.absolute,
            idle_seconds=self._rules.idle.total_seconds() if self._rules.idle else None,
            last_activity=now,
            ip_address=client.ip_address,
            user_agent=client.user_agent,
            network=network_key(client.ip_address),
            agent_family=agent.family if agent else None,
            agent_platform=agent.platform if agent else None,
            device_id=new.device_id,
            factors=new.factors,
            mfa_at=new.mfa_at,
        )
        owner = "account_id" if new.account_id else "manufacturer_id"
        ended = await self._store.add_session(session, keep=self._rules.limit, owner=owner)
        self._states.put(session)
        self._emit(event_kinds.AUTH_SESSION_CREATED, session)
        for session_id in ended:
            self._emit_ended(session_id, session.manufacturer_id, "session_limit")
        return session

    async def get_alive(self, session_id: str) -> StoredSession | None:
        """The session, if it is alive and its manufacturer may act."""
        if not _plausible(session_id):
            return None
        session = await self._states.get_alive(session_id)
        if session is None and session_id in self._touches:
            # It may look idle only because its latest use was not written yet.
            await self.flush()
            session = await self._states.get_alive(session_id)
        if session is None or not await self._admits(session.manufacturer_id, session.account_id):
            return None
        return session

    async def validate(self, session_id: str) -> bool:
        """Whether the session is alive; counts as a use of it."""
        if await self.get_alive(session_id) is None:
            return False
        self.touch(session_id)
        return True

    def touch(self, session_id: str) -> None:
        """Note a use; uses are written together, about once a second."""
        count, _ = self._touches.get(session_id, (0, None))
        self._touches[session_id] = (count + 1, self._clock.now())
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush_soon())

    async def flush(self) -> None:
        """Write the uses that wait; what the store cannot take now waits on."""
        touches, self._touches = self._touches, {}
        if not touches:
            return
        try:
            await self._store.touch_sessions(touches)
        except StorageError:
            for session_id, (count, at) in touches.items():
                more, later = self._touches.get(session_id, (0, at))
                self._touches[session_id] = (count + more, later)

    async def info(self, session_id: str) -> ManufacturerSession | None:
        """The session with its latest use, alive or ended; None when it is not known."""
        if not _plausible(session_id):
            return None
        await self.flush()
        stored = await self._store.get_session(session_id)
        return self.describe(stored) if stored else None

    async def list(self, manufacturer_id: str) -> list[ManufacturerSession]:
        """The sessions of a manufacturer that are alive, newest first."""
        await self.flush()
        found = await self._store.list_sessions(manufacturer_id, now=self._clock.now())
        return [self.describe(stored) for stored in found]

    async def refresh(self, session_id: str) -> ManufacturerSession:
        """Move the end of a session up; raises AuthenticationError (``SESSION_ENDED``) when it is not alive."""
        if await self.get_alive(session_id) is None:
            refuse_ended()
        now = self._clock.now()
        await self.flush()
        extended = await self._store.extend_session(session_id, now=now, expires_at=now + self._rules.lifetime)
        if extended is None:
            refuse_ended()
        self._states.put(extended)
        return self.describe(extended)

    async def rotate(self, session_id: str, *, new_tier: str | None = None) -> ManufacturerSession:
        """Move a session to a new id, as after a change of privilege; the old id and its tokens are dead.

        The refresh family goes over; a cookie must be issued again. Raises as :meth:`refresh`.
        """
        now = self._clock.now()
        await self.flush()
        old = await self._store.get_session(session_id) if _plausible(session_id) else None
        if (
            old is None
            or not is_alive(old, now.timestamp())
            or not await self._admits(old.manufacturer_id, old.account_id)
        ):
            refuse_ended()
        changed: dict[str, Any] = {}
        if new_tier is not None:
            roles = [f"manufacturer_{new_tier}" if role == f"manufacturer_{old.tier}" else role for role in old.roles]
            changed = {"tier": new_tier, "roles": roles}
        successor = msgspec.structs.replace(
            old, session_id=new_session_id(), last_activity=now, cookie_hash=None, **changed
        )
        if not await uninterrupted(self._store.replace_session(session_id, successor, now=now)):
            refuse_ended()
        self._states.put(successor)
        self._emit(event_kinds.AUTH_SESSION_ROTATED, successor, previous=session_id)
        return self.describe(successor)

    async def end(self, session_id: str, *, reason: str) -> bool:
        """End a session and its refresh family; whether it was alive."""
        session = await self._store.get_session(session_id) if _plausible(session_id) else None
        if session is None:
            return False
        ended = await uninterrupted(self._store.end_session(session_id, now=self._clock.now(), reason=reason))
        if ended:
            self._emit_ended(session_id, session.manufacturer_id, reason)
        return ended

    async def end_all(
        self,
        manufacturer_id: str,
        *,
        reason: str,
        account_id: str | None = None,
        without_account: bool = False,
        except_session: str | None = None,
    ) -> int:
        """End all sessions of a manufacturer, or of one account in it (and, ``without_account``, those of no one);
        how many there were."""
        work = self._store.end_sessions(
            manufacturer_id,
            now=self._clock.now(),
            reason=reason,
            account_id=account_id,
            without_account=without_account,
            keep=except_session,
        )
        ended = await uninterrupted(work)
        for session_id in ended:
            self._emit_ended(session_id, manufacturer_id, reason)
        return len(ended)

    async def note_mfa(self, session_id: str, at: datetime | None = None) -> bool:
        """Note that a second factor was shown in this session now (or ``at``); False when it is not alive."""
        now = self._clock.now()
        return await self._store.set_session_mfa(session_id, now=now, mfa_at=at or now)

    async def forget_mfa(self, session_id: str) -> bool:
        """Make the session show a second factor again before it does anything sensitive."""
        return await self._store.set_session_mfa(session_id, now=self._clock.now(), mfa_at=None)

    async def require_recent_mfa(self, session_id: str, *, max_age: timedelta) -> None:
        """Raise unless the session showed a second factor within ``max_age``.

        Raises:
            MFARequiredError: it did not, or is not alive.
        """
        session = await self.get_alive(session_id)
        if session is None or session.mfa_at is None or self._clock.now() - session.mfa_at > max_age:
            raise MFARequiredError(
                "Requires a recent second factor.", context={"max_age_seconds": max_age.total_seconds()}
            )

    async def create_cookie(self, session_id: str) -> str:
        """A value for the session's cookie: its id and a secret, of which only a hash is kept.

        A new one makes the previous one worthless. Raises as :meth:`refresh`.
        """
        secret = secrets.token_urlsafe(32)
        hashed = bytes.fromhex(self._cookies.of("session cookie", session_id, secret))
        if not await self._store.set_session_cookie(session_id, now=self._clock.now(), cookie_hash=hashed):
            refuse_ended()
        return f"{session_id}.{secret}"

    async def verify_cookie(self, value: str) -> StoredSession | None:
        """The session that a cookie opens, if it is alive and the secret is right; counts as a use."""
        if not isinstance(value, str) or len(value) > 2 * _MAX_ID_LENGTH:
            return None
        session_id, _, secret = value.partition(".")
        session = await self.get_alive(session_id)
        if session is None or session.cookie_hash is None:
            return None
        hashed = bytes.fromhex(self._cookies.of("session cookie", session_id, secret))
        if not hmac.compare_digest(hashed, session.cookie_hash):
            return None
        self.touch(session_id)
        return session

    async def delete_expired(self) -> int:
        """End what has run out and delete what ended long ago; how many ran out."""
        now = self._clock.now()
        await self.flush()
        return await self._store.delete_expired_sessions(now=now, older_than=now - self._rules.keep_ended)

    def describe(self, stored: StoredSession) -> ManufacturerSession:
        """The session as callers see it."""
        place = self._places.place_of(stored.ip_address) if self._places and stored.ip_address else None
        return ManufacturerSession(
            session_id=stored.session_id,
            manufacturer_id=stored.manufacturer_id,
            account_id=stored.account_id,
            company_name=stored.company_name,
            email=stored.email,
            tier=stored.tier,
            roles=list(stored.roles),
            created_at=stored.created_at,
            expires_at=stored.expires_at,
            absolute_expires_at=stored.absolute_expires_at,
            last_activity=stored.last_activity,
            activity_count=stored.activity_count,
            is_active=is_alive(stored, self._clock.timestamp()),
            ip_address=stored.ip_address,
            user_agent=stored.user_agent,
            device=read_agent(stored.user_agent).label if stored.user_agent else None,
            place=place.country if place and place.country else stored.network,
            factors=list(stored.factors),
            mfa_at=stored.mfa_at,
            ended_at=stored.ended_at,
            ended_reason=stored.ended_reason,
        )

    async def _flush_soon(self) -> None:
        await asyncio.sleep(_FLUSH_SECONDS)
        self._flushing = None
        await self.flush()

    def _emit(self, kind: str, session: StoredSession, **data: Any) -> None:
        self._sink.emit(
            event(
                kind,
                timestamp=self._clock.now(),
                manufacturer_id=session.manufacturer_id,
                account_id=session.account_id,
                session_id=session.session_id,
                ip_address=session.ip_address,
                **data,
            )
        )

    def _emit_ended(self, session_id: str, manufacturer_id: str, reason: str) -> None:
        self._sink.emit(
            event(
                event_kinds.AUTH_SESSION_ENDED,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=manufacturer_id,
                session_id=session_id,
                reason=reason,
            )
        )


def new_session_id() -> str:
    """A handle of 48 hex digits."""
    return secrets.token_hex(_ID_BYTES)


def _plausible(session_id: object) -> bool:
    return isinstance(session_id, str) and 0 < len(session_id) <= _MAX_ID_LENGTH and session_id.isascii()


def refuse_ended() -> NoReturn:
    """Raise the error for a session that is not alive."""
    raise AuthenticationError("The session is invalid or has ended.", code="SESSION_ENDED")
