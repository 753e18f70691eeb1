"""Refresh-token rotation with reuse detection, and one grace for parallel requests (RFC 9700 §4.14)."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, NoReturn

import msgspec

from gatewright import event_kinds
from gatewright._async import uninterrupted
from gatewright.auth.client_signals import same_client_key
from gatewright.auth.records import AuthResult, AuthStatus, ClientInfo, ManufacturerAccount, describe
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.sessions.risk import RiskAssessor
from gatewright.auth.tokens.service import TokenService
from gatewright.clock import Clock
from gatewright.encryption.secretbox import SecretBox, derive_key
from gatewright.errors import InvalidTokenError, RefreshTokenReuseError, TokenExpiredError, TokenRevokedError
from gatewright.events import EventSink, Severity, event
from gatewright.storage.protocol import Store
from gatewright.storage.sessions import RefreshOutcome, RefreshResult, RefreshRotation, StoredSession

PREFIX = "gwr_"
"""How a refresh token begins, so that secret scanners can find one."""

_FAMILY_BYTES, _FAMILY_LENGTH = 16, 22
_SECRET_BYTES, _SECRET_LENGTH = 32, 43


class RefreshService:
    """Makes refresh tokens and takes them in.

    Args:
        hashes: the representation of a token in the store.
        lifetime: of a token, and how far a refresh moves the session's end.
        access_lifetime: of the access token issued with it.
        grace: seconds in which the same client gets the same successor again.
        risk: asked before a session continues from another place.
    """

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenService,
        hashes: KeyedHash,
        clock: Clock,
        sink: EventSink,
        lifetime: timedelta,
        access_lifetime: timedelta,
        grace: float,
        risk: RiskAssessor,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._hashes = hashes
        self._clock = clock
        self._sink = sink
        self._lifetime = lifetime
        self._access_lifetime = access_lifetime
        self._grace = grace
        self._risk = risk

    async def begin(self, session: StoredSession) -> str:
        """The first token of a new family."""
        token, now = _new_token(secrets.token_urlsafe(_FAMILY_BYTES)), self._clock.now()
        await self._store.add_refresh_family(
            session,
            family_id=self._family(token),
            token_hash=self._hash(token),
            now=now,
            expires_at=min(now + self._lifetime, session.absolute_expires_at),
        )
        return token

    async def rotate(self, token: object, client: ClientInfo | None) -> AuthResult:
        """Take a refresh token for a new pair.

        Raises:
            RefreshTokenReuseError: it was used before; its family is revoked and its session ended.
            TokenExpiredError: it has expired.
            TokenRevokedError: its session or family has ended.
            InvalidTokenError: it is not issued by this service.
            SessionHijackError: the risk was such that policy ended the session.
        """
        presented = _checked(token)
        now, successor = self._clock.now(), _new_token(_family_part(presented))
        rotation = RefreshRotation(
            family_id=self._family(presented),
            token_hash=self._hash(presented),
            successor_hash=self._hash(successor),
            sealed=_box(presented).seal(successor.encode()),
            client_key=same_client_key(client),
            now=now,
            grace_seconds=self._grace,
            successor_expires_at=now + self._lifetime,
            session_expires_at=now + self._lifetime,
        )
        result = await uninterrupted(self._store.rotate_refresh_token(rotation))
        session, sealed = self._accept(result, client)
        if client is not None:
            await self._risk.enforce(session, client, since_refresh=result.seconds_since_rotation)
        session, account = await self._up_to_date(session)
        access_token = await self._tokens.issue_for(session, self._access_lifetime)
        self._emit(
            event_kinds.AUTH_TOKEN_REFRESHED, session, client, repeated=result.outcome == RefreshOutcome.REPEATED
        )
        return AuthResult(
            status=AuthStatus.AUTHENTICATED.value,
            access_token=access_token,
            refresh_token=_box(presented).open(sealed).decode(),
            expires_in=self._access_lifetime.total_seconds(),
            session_id=session.session_id,
            manufacturer=account,
        )

    async def session_of(self, token: object) -> str | None:
        """The session that a refresh token belongs to, whether it was used or not; None for a foreign one."""
        return await self._store.refresh_session_of(self._family(_checked(token)))

    def _accept(self, result: RefreshResult, client: ClientInfo | None) -> tuple[StoredSession, bytes]:
        """The session and the sealed successor, unless the token was refused."""
        session = result.session
        if result.outcome == RefreshOutcome.REUSED:
            if session is not None:
                self._emit(event_kinds.AUTH_REFRESH_REUSED, session, client, severity=Severity.HIGH)
            raise RefreshTokenReuseError("This refresh token was used before. Its session has been ended.")
        if result.outcome == RefreshOutcome.EXPIRED:
            raise TokenExpiredError("The refresh token has expired.")
        if result.outcome == RefreshOutcome.REVOKED:
            raise TokenRevokedError("The refresh token is invalid: its session has ended.")
        if session is None or result.sealed is None:
            _refuse()
        return session, result.sealed

    async def _up_to_date(self, session: StoredSession) -> tuple[StoredSession, ManufacturerAccount | None]:
        """The session with the tier that the manufacturer has now, and its account."""
        account = await self._store.get_account(session.account_id) if session.account_id else None
        manufacturer = await self._store.get_manufacturer(session.manufacturer_id)
        if account is None or manufacturer is None:
            return session, None
        if account.status != "active":
            await self._store.end_session(session.session_id, now=self._clock.now(), reason="account_disabled")
            raise TokenRevokedError("The refresh token is invalid: its account is disabled.", code="ACCOUNT_DISABLED")
        described = describe(account, manufacturer)
        changes = {"tier": manufacturer.tier, "roles": described.roles, "company_name": manufacturer.company_name}
        return msgspec.structs.replace(session, **changes), described

    def _family(self, token: str) -> str:
        """What the store knows a token's family by."""
        return self._hashes.of("refresh family", _family_part(token))

    def _hash(self, token: str) -> bytes:
        return bytes.fromhex(self._hashes.of("refresh token", token))

    def _emit(
        self,
        kind: str,
        session: StoredSession,
        client: ClientInfo | None,
        *,
        severity: Severity = Severity.INFO,
        **data: Any,
    ) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=session.manufacturer_id,
                account_id=session.account_id,
                session_id=session.session_id,
                ip_address=client.ip_address if client else None,
                **data,
            )
        )


def is_refresh_token(token: object) -> bool:
    """Whether it looks like one of this service."""
    return isinstance(token, str) and token.startswith(PREFIX)


def _new_token(family: str) -> str:
    """Prefix, family, secret. The family in it tells a used token from a foreign one when it is long forgotten."""
    return PREFIX + family + secrets.token_urlsafe(_SECRET_BYTES)


def _family_part(token: str) -> str:
    return token[len(PREFIX) : len(PREFIX) + _FAMILY_LENGTH]


def _checked(token: object) -> str:
    if (
        not isinstance(token, str)
        or not is_refresh_token(token)
        or len(token) != len(PREFIX) + _FAMILY_LENGTH + _SECRET_LENGTH
    ):
        _refuse()
    return token


def _box(presented: str) -> SecretBox:
    """Can be opened with the presented token, but not with the store alone."""
    return SecretBox(derive_key(presented.encode("utf-8", "surrogatepass"), "gatewright auth", "refresh successor"))


def _refuse() -> NoReturn:
    raise InvalidTokenError("The refresh token is invalid.")
