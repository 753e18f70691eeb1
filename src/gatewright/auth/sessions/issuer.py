"""Session issuer and terminator: starting sessions with their first tokens, and ending all access.

Every way of signing in (password, second factor, passkey, trusted device) ends here, and nothing else makes an
access and refresh token. So no path can forget a second factor, the refresh family, the session limit or the
event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from gatewright import event_kinds
from gatewright.auth.records import SECOND_FACTORS, AuthResult, AuthStatus, ClientInfo, account_roles, describe
from gatewright.auth.sessions.refresh import RefreshService
from gatewright.auth.sessions.service import NewSession, SessionService
from gatewright.auth.tokens.service import TokenService
from gatewright.clock import Clock
from gatewright.errors import MFARequiredError
from gatewright.events import EventSink, Severity, event
from gatewright.storage.tenants import StoredAccount, StoredManufacturer, TenantStore


class SessionIssuer:
    """Makes the session, the access token and the refresh family of a finished sign-in.

    Args:
        sessions, tokens, refresh: the services that keep them.
        must_show_second_factor: the last gate: an account that must show a second factor gets no session without
            one, whichever path led here.
        lifetime: of the session, unless it is refreshed; that of the refresh token.
        access_lifetime: of the access token.
    """

    def __init__(
        self,
        *,
        sessions: SessionService,
        tokens: TokenService,
        refresh: RefreshService,
        sink: EventSink,
        clock: Clock,
        lifetime: timedelta,
        access_lifetime: timedelta,
        must_show_second_factor: Callable[[StoredAccount], Awaitable[bool]],
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._refresh = refresh
        self._sink = sink
        self._clock = clock
        self._lifetime = lifetime
        self._access_lifetime = access_lifetime
        self._must_show_second_factor = must_show_second_factor

    async def issue(
        self,
        account: StoredAccount,
        manufacturer: StoredManufacturer,
        client: ClientInfo | None,
        *,
        factors: frozenset[str],
        mfa_at: datetime | None = None,
        device_id: str | None = None,
        device_token: str | None = None,
    ) -> AuthResult:
        """Sign ``account`` in.

        Args:
            factors: what was shown, :class:`~gatewright.auth.records.Factor` values.
            mfa_at: when a second factor was shown in this sign-in; None for a trusted device, which is
                for one but is no recent proof.
            device_id: the trusted device that the session is bound to.
            device_token: handed through to the result when a device was just remembered.

        Raises:
            MFARequiredError: the account must show a second factor and none is among ``factors``.
        """
        await self._refuse_without_second_factor(account, factors)
        session = await self._sessions.create(
            NewSession(
                manufacturer_id=manufacturer.manufacturer_id,
                account_id=account.account_id,
                company_name=manufacturer.company_name,
                email=account.email,
                tier=manufacturer.tier,
                roles=account_roles(account, manufacturer),
                client=client,
                factors=sorted(factors),
                mfa_at=mfa_at,
                device_id=device_id,
                lifetime=self._lifetime,
            )
        )
        refresh_token = await self._refresh.begin(session)
        access_token = await self._tokens.issue_for(session, self._access_lifetime)
        self._sink.emit(
            event(
                event_kinds.AUTH_LOGIN_SUCCEEDED,
                timestamp=self._clock.now(),
                severity=Severity.INFO,
                manufacturer_id=manufacturer.manufacturer_id,
                account_id=account.account_id,
                session_id=session.session_id,
                ip_address=client.ip_address if client else None,
                factors=sorted(factors),
            )
        )
        return AuthResult(
            status=AuthStatus.AUTHENTICATED.value,
            access_token=access_token,
            refresh_token=refresh_token,
            expires_in=self._access_lifetime.total_seconds(),
            session_id=session.session_id,
            manufacturer=describe(account, manufacturer),
            device_token=device_token,
        )

    async def _refuse_without_second_factor(self, account: StoredAccount, factors: frozenset[str]) -> None:
        if factors & SECOND_FACTORS:
            return
        if await self._must_show_second_factor(account):
            self._sink.emit(
                event(
                    event_kinds.AUTH_MFA_BYPASS_REFUSED,
                    timestamp=self._clock.now(),
                    severity=Severity.HIGH,
                    manufacturer_id=account.manufacturer_id,
                    account_id=account.account_id,
                    factors=sorted(factors),
                )
            )
            raise MFARequiredError("This account requires a second factor to sign in.")


class SessionTerminator:
    """What a change of password, a reset of factors or a call of staff ends."""

    def __init__(self, store: TenantStore, sessions: SessionService, tokens: TokenService) -> None:
        self._store = store
        self._sessions = sessions
        self._tokens = tokens

    async def end_all(
        self, manufacturer_id: str, *, reason: str, account_id: str | None = None, except_session: str | None = None
    ) -> int:
        """End the sessions of a manufacturer, or of one account in it, and revoke its sessionless tokens.

        Tokens and sessions that name no account are the company's as a whole. They are no person's, yet end with
        the owner's: whoever resets the owner's password wants every door closed.

        Returns:
            How many sessions ended.
        """
        await self._tokens.revoke_sessionless(manufacturer_id, account_id=account_id)
        is_owner = False
        if account_id is not None:
            owner = await self._store.owner_of(manufacturer_id)
            is_owner = owner is not None and owner.account_id == account_id
            if is_owner:
                await self._tokens.revoke_sessionless(manufacturer_id, account_id=manufacturer_id)
        return await self._sessions.end_all(
            manufacturer_id,
            reason=reason,
            account_id=account_id,
            without_account=is_owner,
            except_session=except_session,
        )
