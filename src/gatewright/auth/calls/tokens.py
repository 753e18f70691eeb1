"""Calls about tokens and signing keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gatewright.auth.client_signals import client_info
from gatewright.auth.records import AuthResult
from gatewright.auth.services import AuthServices
from gatewright.auth.sessions.refresh import RefreshService, is_refresh_token
from gatewright.auth.sessions.service import SessionService
from gatewright.auth.status_cache import TenantStatusCache
from gatewright.auth.tokens.claims import subject_claims, text
from gatewright.auth.tokens.service import TokenService
from gatewright.auth.tokens.signing_keys import SigningKeyRing
from gatewright.errors import FieldError, ValidationError
from gatewright.performance import performance_monitor


class TokenCalls:
    """Access tokens, refresh tokens, signing keys."""

    access: AuthServices
    tenants: TenantStatusCache
    tokens: TokenService
    refresh: RefreshService
    sessions: SessionService
    keys: SigningKeyRing

    @performance_monitor(max_time=0.1, name="ManufacturerAuthManager.generate_manufacturer_token")
    async def generate_manufacturer_token(self, manufacturer_data: Any, *, expires_in: timedelta | None = None) -> str:
        """A signed token (RFC 7519) that says who a manufacturer is.

        Args:
            manufacturer_data: a mapping or object with ``manufacturer_id`` and, as far as known,
                ``company_name``, ``email``, ``tier``, ``roles``, ``account_id`` and ``session_id``. Without
                ``account_id`` the token is the company's as a whole: its ``sub`` is the manufacturer's id, which
                is no person's.
            expires_in: how long it is valid; the manager's ``token_expiry_hours`` when missing.

        Raises:
            ValidationError: ``manufacturer_id`` is missing, or a value does not fit.
            AuthenticationError: the manufacturer is disabled, or (in a foundation) unknown.
            AuthorizationError: in a foundation, ``account_id`` is not an active account of this manufacturer.
        """
        if expires_in is not None and not isinstance(expires_in, timedelta):
            error = FieldError(
                field="expires_in", error_type="INVALID_LIFETIME", message="expires_in must be a timedelta."
            )
            raise ValidationError(error.message, errors=[error])
        if self.access.people.strict:
            await self._require_member(manufacturer_data)
        return await self.tokens.generate(manufacturer_data, expires_in=expires_in)

    async def _require_member(self, data: Any) -> None:
        """Raise where the data names an account that is not one of the manufacturer's."""
        manufacturer_id, account_id = subject_claims(data)["manufacturer_id"], text(data, "account_id")
        await self.tenants.require_active(manufacturer_id)
        if account_id not in (None, manufacturer_id):  # its own id is the `sub` of a token without a person
            await self.access.people.of(manufacturer_id, account_id)

    @performance_monitor(max_time=0.05, name="ManufacturerAuthManager.validate_token")
    async def validate_token(self, token: str) -> dict[str, Any]:
        """The claims of a token that is valid now.

        A token that was verified before is remembered; its expiry, revocation and session are looked at each time.

        Raises:
            TokenExpiredError: it was ours and has expired; there is no leeway.
            TokenRevokedError: it was ours and was revoked, or its session has ended.
            InvalidTokenError: it is anything else, whatever its type.
            StoreUnavailableError: whether it still holds must be asked of the store, which does not answer.
        """
        claims = self.tokens.remembered(token)
        return claims if claims is not None else await self.tokens.validate(token)

    async def refresh_tokens(self, refresh_token: str, *, client: Any = None) -> AuthResult:
        """Take a refresh token for a new access and refresh token; each is good for one use (RFC 9700 §4.14).

        Within the grace (10 s) the same client (network and user agent), presenting it again, gets the same
        successor. Any other second use ends the session.

        Raises:
            RefreshTokenReuseError: it was used before.
            TokenExpiredError, TokenRevokedError, InvalidTokenError: it has expired, its session has ended, or it
                is none of ours.
            SessionHijackError: it comes from a place so unfit that policy ended the session.
        """
        return await self.refresh.rotate(refresh_token, client_info(client))

    async def revoke_token(self, token: str) -> None:
        """Make a token worthless everywhere within a second: an access token by itself, a refresh token with its
        session (RFC 7009).

        Raises:
            InvalidTokenError: it is none of ours.
        """
        if not is_refresh_token(token):
            await self.tokens.revoke(token)
            return
        session_id = await self.refresh.session_of(token)
        if session_id is not None:
            await self.sessions.end(session_id, reason="refresh_token_revoked")

    async def rotate_signing_key(self) -> str:
        """Sign with a new key from now on; tokens of the old one verify until they expire. Returns the new ``kid``."""
        return await self.keys.rotate(reason="requested")

    def jwks(self) -> dict[str, Any]:
        """The public keys, for others who verify our tokens (RFC 7517); empty where tokens are HS256."""
        return self.tokens.jwks()
