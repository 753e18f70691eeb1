"""Authentication of requests: a bearer token, API key or session cookie becomes a caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewright.access import KEY_DEFAULT_ACCESS
from gatewright.errors import AuthenticationError, InvalidTokenError
from gatewright.rbac import ManufacturerContext
from gatewright.web.request import RequestState

if TYPE_CHECKING:
    from gatewright.auth import ManufacturerAuthManager

SESSION_COOKIE = "__Host-gatewright"
"""The cookie of the pages; it carries a secret of its own, never the session id."""

MAX_CREDENTIAL = 8_192
"""Characters of a token or key at most; longer ones are refused unread."""


class Authenticator:
    """Turns the credentials of a request into its caller.

    Args:
        auth: checks tokens, keys and cookies.
    """

    def __init__(self, auth: ManufacturerAuthManager) -> None:
        self._auth = auth

    async def authenticate(self, state: RequestState, *, required: bool) -> None:
        """Set the caller of ``state``; an anonymous request stays anonymous unless a caller is required.

        Raises:
            AuthenticationError: no credentials where some are required (code ``TOKEN_MISSING``), two at
                once, or bad ones. A bad credential is refused even where none is needed.
        """
        credential, key = state.fields.get(b"authorization"), state.fields.get(b"x-api-key")
        if credential is not None and key is not None:
            raise InvalidTokenError("Two credentials were sent. Send either Authorization or X-API-Key, not both.")
        if key is not None:
            await self._by_key(key.decode("latin-1"), state)
        elif credential is not None:
            await self._by_authorization(credential.decode("latin-1"), state)
        elif (cookie := session_cookie(state)) is not None:
            await self._by_cookie(cookie, state)
        if state.caller is None and required:
            raise AuthenticationError("Requires a bearer token, an API key or a session.", code="TOKEN_MISSING")

    async def _by_authorization(self, value: str, state: RequestState) -> None:
        scheme, _, credential = value.partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential or len(credential) > MAX_CREDENTIAL:
            raise InvalidTokenError("The Authorization header is invalid. Send `Authorization: Bearer <token>`.")
        if credential.startswith("gw_"):
            await self._by_key(credential, state)
        else:
            self._take_claims(await self._auth.validate_token(credential), state, by="token")

    async def _by_key(self, key: str, state: RequestState) -> None:
        if len(key) > MAX_CREDENTIAL:
            raise InvalidTokenError("The API key is invalid.")
        known = await self._auth.verify_api_key(key, client=state.client)
        state.caller = ManufacturerContext(
            manufacturer_id=known.manufacturer_id,
            company_name=known.company_name,
            email=known.email,
            tier=known.tier,
            roles=list(known.roles),
            account_id=known.account_id,
            ip_address=state.client.ip_address,
            user_agent=state.client.user_agent,
        )
        state.key = known
        state.permissions = frozenset(known.permissions) | KEY_DEFAULT_ACCESS
        state.by = "api_key"

    async def _by_cookie(self, cookie: str, state: RequestState) -> None:
        session = await self._auth.sessions.verify_cookie(cookie)
        if session is None:
            return  # an old cookie is no error: the page asks to sign in again
        state.session_id = session.session_id
        state.by = "cookie"
        state.caller = ManufacturerContext(
            manufacturer_id=session.manufacturer_id,
            company_name=session.company_name or "",
            email=session.email or "",
            tier=session.tier or "",
            roles=list(session.roles),
            account_id=session.account_id,
            ip_address=state.client.ip_address,
            user_agent=state.client.user_agent,
        )

    def _take_claims(self, claims: dict[str, Any], state: RequestState, *, by: str) -> None:
        state.claims = claims
        state.session_id = claims.get("sid")
        state.by = by
        state.caller = ManufacturerContext(
            manufacturer_id=claims["manufacturer_id"],
            company_name=claims.get("company_name", ""),
            email=claims.get("email", ""),
            tier=claims.get("tier", ""),
            roles=list(claims.get("roles", ())),
            account_id=claims.get("account_id") or claims.get("sub"),
            ip_address=state.client.ip_address,
            user_agent=state.client.user_agent,
        )


def session_cookie(state: RequestState) -> str | None:
    """The value of the session cookie; None if it was not sent."""
    cookies = state.header(b"cookie")
    if cookies is None or len(cookies) > MAX_CREDENTIAL:
        return None
    for part in cookies.split(";"):
        name, _, value = part.strip().partition("=")
        if name == SESSION_COOKIE:
            return value
    return None
