"""Calls about sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gatewright.auth.client_signals import client_info
from gatewright.auth.options import AuthOptions
from gatewright.auth.records import ClientInfo, ManufacturerSession, SessionRisk
from gatewright.auth.services import AuthServices
from gatewright.auth.sessions.issuer import SessionTerminator
from gatewright.auth.sessions.risk import RiskAssessor
from gatewright.auth.sessions.service import NewSession, SessionService, refuse_ended
from gatewright.auth.status_cache import TenantStatusCache
from gatewright.auth.tokens.claims import read, subject_claims
from gatewright.errors import InvalidCredentialsError
from gatewright.storage.protocol import Store


class SessionCalls:
    """Sessions, and the risk that one is in other hands."""

    store: Store
    options: AuthOptions
    sessions: SessionService
    endings: SessionTerminator
    tenants: TenantStatusCache
    risk: RiskAssessor
    access: AuthServices

    async def create_session(self, data: Any) -> ManufacturerSession:
        """Begin a session for a manufacturer that the caller has authenticated by itself.

        Args:
            data: a mapping or object with ``manufacturer_id``, ``company_name``, ``email``, ``tier`` and, as far
                as known, ``account_id``, ``roles``, ``ip_address`` and ``user_agent``, to which it is bound.
                Without ``account_id`` a foundation's session is no person's: it can show no second factor and
                changes nobody's. Built alone, it is the owner's.

        Raises:
            ValidationError: ``manufacturer_id`` is missing, or a value does not fit.
            AuthenticationError: the manufacturer is disabled, or (in a foundation) unknown.
            AuthorizationError: in a foundation, the account is not an active one of this manufacturer.
        """
        claims = subject_claims(data)
        manufacturer_id = claims["manufacturer_id"]
        await self.tenants.require_active(manufacturer_id)
        account_id = read(data, "account_id")
        if self.access.people.strict:
            if account_id is not None:
                account_id = (await self.access.people.of(manufacturer_id, account_id)).account_id
        elif account_id is None:
            owner = await self.store.owner_of(manufacturer_id)
            account_id = owner.account_id if owner else None
        session = await self.sessions.create(
            NewSession(
                manufacturer_id=manufacturer_id,
                account_id=account_id,
                company_name=claims["company_name"],
                email=claims["email"],
                tier=claims["tier"],
                roles=claims["roles"],
                client=client_info({name: read(data, name) for name in ("ip_address", "user_agent")}),
            )
        )
        return self.sessions.describe(session)

    async def validate_session(self, session_id: str) -> bool:
        """Whether the session is alive; counts as a use of it."""
        return await self.sessions.validate(session_id)

    async def get_session_info(self, session_id: str) -> ManufacturerSession | None:
        """The session, alive or ended (``is_active``); None when it is not known."""
        return await self.sessions.info(session_id)

    async def list_sessions(self, manufacturer_id: str) -> list[ManufacturerSession]:
        """The manufacturer's sessions that are alive, newest first, each with device, place and last use."""
        return await self.sessions.list(manufacturer_id)

    async def refresh_session(self, session_id: str) -> ManufacturerSession:
        """Move the session's end up, within its absolute limit; the id stays.

        Raises:
            AuthenticationError: it is not alive (code ``SESSION_ENDED``).
        """
        return await self.sessions.refresh(session_id)

    async def rotate_session(self, session_id: str, *, new_tier: str | None = None) -> ManufacturerSession:
        """Move a session to a new id, as after a change of privilege; the old id and its tokens are dead.

        Raises:
            AuthenticationError: it is not alive (code ``SESSION_ENDED``).
        """
        return await self.sessions.rotate(session_id, new_tier=getattr(new_tier, "value", new_tier))

    async def invalidate_session(self, session_id: str) -> bool:
        """End a session; its tokens are refused everywhere within a second. Whether it was alive."""
        return await self.sessions.end(session_id, reason="requested")

    async def invalidate_sessions(
        self, manufacturer_id: str, *, reason: str, except_session: str | None = None, account_id: str | None = None
    ) -> int:
        """End all sessions of a manufacturer, or of one account in it, but one, and revoke the tokens that hang on
        none; how many ended."""
        return await self.endings.end_all(
            manufacturer_id, reason=reason, account_id=account_id, except_session=except_session
        )

    async def detect_session_hijacking(self, session_id: str, client: Any) -> bool:
        """Whether the client's network (/24, /64) or its agent's family or platform is not what the session was
        bound to. Reports only; False for a session that is not alive.
        """
        session = await self.sessions.get_alive(session_id)
        seen = client_info(client)
        return session is not None and seen is not None and self.risk.looks_hijacked(session, seen)

    async def assess_session_risk(self, session_id: str, client: Any) -> SessionRisk:
        """Grade how likely the session is in other hands, and do what policy says of such a grade: ``action`` is
        ``none``, ``note``, ``require_mfa`` (sensitive operations ask again) or ``end`` (it was ended).
        """
        session = await self.sessions.get_alive(session_id)
        if session is None:
            return SessionRisk(session_id=str(session_id)[:128], score=0.0)
        return await self.risk.act(session, client_info(client) or ClientInfo())

    async def cleanup_expired_sessions(self) -> int:
        """End what has run out and delete what ended long ago; how many ran out."""
        return await self.sessions.delete_expired()

    async def confirm_session_mfa(self, session_id: str, proof: object, *, client: Any = None) -> None:
        """Show a second factor in a session, so that sensitive operations are allowed for a while.

        Args:
            proof: a TOTP or backup code, or a passkey assertion with its ``challenge_id``.

        Raises:
            AuthenticationError: the session is not alive (code ``SESSION_ENDED``).
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``).
            RateLimitExceededError, AccountLockedError: too many wrong ones.
            MFARequiredError: the factor does not count yet (code ``FACTOR_TOO_NEW``).
            ValidationError: the session is no person's (code ``ACCOUNT_ID_REQUIRED``).
        """
        session = await self.sessions.get_alive(session_id)
        if session is None:
            refuse_ended()
        person = await self.access.people.of_session(session.manufacturer_id, session.account_id)
        await self.access.vouching.require_counting(person.account_id)
        if await self.access.factors.prove(person, proof, client=client_info(client)) is None:
            raise InvalidCredentialsError("The code is not valid.", code="INVALID_MFA_CODE")
        if not await self.sessions.note_mfa(session_id):
            refuse_ended()

    async def require_recent_mfa(self, session_id: str, *, max_age: timedelta | float | None = None) -> None:
        """Raise unless a second factor was shown in this session lately.

        Args:
            max_age: a timedelta, or seconds; the installation's setting when missing.

        Raises:
            MFARequiredError: none was, or the session is not alive.
        """
        if max_age is None:
            max_age = self.options.recent_mfa
        limit = max_age if isinstance(max_age, timedelta) else timedelta(seconds=max_age)
        await self.sessions.require_recent_mfa(session_id, max_age=limit)
