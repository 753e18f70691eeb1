"""The token service: issues, verifies, caches and revokes access tokens (RFC 7519)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from gatewright import event_kinds
from gatewright.auth.status_cache import SessionCache, TenantStatusCache
from gatewright.auth.tokens.claims import (
    check_claims,
    expired,
    issued_milliseconds,
    new_token_id,
    subject_claims,
    text,
    time_claims,
)
from gatewright.auth.tokens.external_issuers import ExternalIssuer
from gatewright.auth.tokens.jws import (
    as_bytes,
    decode_segment,
    encode_segment,
    invalid,
    parse,
    read_object,
)
from gatewright.auth.tokens.revocations import Revocations, VerifiedToken, VerifiedTokenCache, token_hash
from gatewright.auth.tokens.signing_keys import SigningKeyRing
from gatewright.clock import Clock
from gatewright.errors import TokenExpiredError, TokenRevokedError
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.keys import RevocationKind
from gatewright.storage.sessions import StoredSession

_OWN_HEADER = frozenset({"alg", "typ", "kid"})
"""Header parameters of tokens that this service signs."""

VERIFIED_TOKENS = 20_000
"""Maximum number of verified tokens in the cache, about 2 KB each."""


class TokenTerms(NamedTuple):
    """``iss`` and ``aud`` of tokens, and their default lifetime."""

    issuer: str
    audience: str
    lifetime: timedelta


class TokenService:
    """Issues, validates and revokes access tokens.

    Args:
        ring: the signing keys.
        sessions: a token that is bound to a session is valid only while the session is active.
        tenants: rejects tokens of manufacturers that are disabled (or unknown, in a foundation).
        external: other issuers whose tokens are trusted.
    """

    def __init__(
        self,
        *,
        ring: SigningKeyRing,
        revocations: Revocations,
        sessions: SessionCache,
        tenants: TenantStatusCache,
        clock: Clock,
        sink: EventSink,
        terms: TokenTerms,
        external: Sequence[ExternalIssuer] = (),
    ) -> None:
        self._ring = ring
        self._revocations = revocations
        self._sessions = sessions
        self._tenants = tenants
        self._clock = clock
        self._emit = emitter(sink, clock)
        self._issuer = terms.issuer
        self._audience = terms.audience
        self._lifetime = terms.lifetime
        self._longest = terms.lifetime
        self._external = {other.issuer: other for other in external}
        self._verified = VerifiedTokenCache(VERIFIED_TOKENS)

    def forget_all(self, _: str = "") -> None:
        """Verify every token again: a signing key was replaced or destroyed, here or in another process."""
        self._verified.invalidate()

    # --- issuing ------------------------------------------------------------------------------------------------

    async def generate(self, data: Any, *, expires_in: timedelta | None = None) -> str:
        """A token for a manufacturer. With ``session_id`` in the data, it is valid only while that session is active.

        Raises:
            ValidationError: ``manufacturer_id`` is missing, a value is too long, or the lifetime is out of range.
        """
        claims = subject_claims(data)
        session_id = text(data, "session_id")
        if session_id is not None:
            claims["sid"] = session_id
        return await self._sign(claims, self._lifetime if expires_in is None else expires_in)

    async def issue_for(self, session: StoredSession, lifetime: timedelta) -> str:
        """A token bound to a session."""
        return await self._sign({**subject_claims(session), "sid": session.session_id}, lifetime)

    async def _sign(self, claims: dict[str, Any], lifetime: timedelta) -> str:
        await self._tenants.require_active(claims["manufacturer_id"], claims["sub"])
        if self._ring.stale:
            await self._ring.load()
        key, header = self._ring.current, self._ring.header
        now = self._clock.timestamp()
        times = time_claims(now, lifetime)
        if lifetime > self._longest:
            self._longest = lifetime
        if lifetime > self._lifetime:
            await self._ring.keep_until(key.kid, datetime.fromtimestamp(times["exp"], UTC))
        issued_ms = self._revocations.next_millisecond(claims["manufacturer_id"], claims["sub"], int(now * 1000))
        claims |= {"iss": self._issuer, "aud": self._audience, **times, "jti": new_token_id(issued_ms)}
        signing_input = header + b"." + encode_segment(msgspec.json.encode(claims))
        if key.slow:
            signature = await asyncio.to_thread(key.sign, signing_input)
        else:
            signature = key.sign(signing_input)
        return (signing_input + b"." + encode_segment(signature)).decode()

    # --- validation ---------------------------------------------------------------------------------------------

    def validate_cached(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that the cache can validate alone. None if :meth:`validate` must ask the store.

        Raises:
            TokenExpiredError: the token has expired.
        """
        key = sha256(as_bytes(token)).digest()  # as token_hash, inline on the hot path
        entry = self._verified.get(key)
        if entry is None:
            return None
        now = self._clock.timestamp()
        if now >= entry.expires_at:
            self._verified.pop(key, None)
            raise expired()
        revocations, monotonic = self._revocations, self._clock.monotonic()
        if (
            not revocations.is_fresh(monotonic)
            or revocations.is_revoked(entry.jti)
            or not self._tenants.is_known_active(entry.manufacturer_id, entry.account_id, monotonic)
        ):
            return None
        if entry.sid is None:
            if revocations.is_cut_off(entry.manufacturer_id, entry.account_id, entry.issued_ms):
                return None
        elif not self._sessions.is_known_alive(entry.sid, now, monotonic):
            return None
        return {**entry.claims, "roles": entry.roles.copy()}

    async def validate(self, token: object) -> dict[str, Any]:
        """The claims of a valid token.

        Raises:
            TokenExpiredError: the token has expired.
            TokenRevokedError: it was revoked, or its session has ended.
            InvalidTokenError: it is not a token of this service or of a trusted issuer.
            StoreUnavailableError: revocations must be read from the store, which is unavailable.
        """
        raw = as_bytes(token)
        key, version = token_hash(raw), self._verified.version
        cached = self._verified.get(key)
        claims = cached.claims if cached is not None else await self._verify(raw)
        if self._clock.timestamp() >= claims["exp"]:
            raise expired()
        entry = cached or _verified_token(claims)
        try:
            await self._require_not_revoked(entry)
        except TokenRevokedError:
            self._verified.pop(key, None)
            raise
        if cached is None:
            self._verified.put(key, entry, version=version)  # not if a key was replaced or destroyed meanwhile
        return {**claims, "roles": list(entry.roles)}

    async def revoke(self, token: object, *, reason: str = "requested") -> None:
        """Revoke one token in all processes. A token that has expired is left as it is.

        Raises:
            InvalidTokenError: it is not a token of this service.
        """
        raw = as_bytes(token)
        try:
            claims = await self._verify(raw)
        except TokenExpiredError:
            return
        self._verified.pop(token_hash(raw), None)
        await self._revocations.revoke_token(claims["jti"], datetime.fromtimestamp(claims["exp"] + 1, UTC))
        self._emit(
            event_kinds.AUTH_TOKEN_REVOKED,
            Severity.NOTICE,
            manufacturer_id=claims["manufacturer_id"],
            session_id=claims.get("sid"),
            jti=claims["jti"],
            reason=reason,
        )

    async def revoke_sessionless(self, manufacturer_id: str, *, account_id: str | None = None) -> None:
        """Revoke every token of a manufacturer (or account) that has no session and was issued until now."""
        kind = RevocationKind.ACCOUNT if account_id else RevocationKind.MANUFACTURER
        await self._revocations.cut_off(kind, account_id or manufacturer_id, longest=self._longest)

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK Set (RFC 7517 §5)."""
        return {"keys": self._ring.public_keys()}

    def sweep(self) -> None:
        """Evict expired tokens from the cache."""
        self._verified.delete_expired(self._clock.timestamp())

    # --- signature, claims and status ---------------------------------------------------------------------------

    async def _verify(self, raw: bytes) -> dict[str, Any]:
        """The claims of a token, after checking its signature, issuer, audience and times."""
        if self._ring.stale:  # another process rotated or destroyed a key
            await self._ring.load()
        head, _, rest = raw.partition(b".")
        body, _, tail = rest.partition(b".")
        key = self._ring.by_header(head)
        if key is None:
            return await self._verify_other(raw)
        if not key.verify(raw[: len(head) + 1 + len(body)], decode_segment(tail)):
            raise invalid("signature verification failed")
        return self._validated_claims(decode_segment(body))

    async def _verify_other(self, raw: bytes) -> dict[str, Any]:
        """As :meth:`_verify`, for a header that differs from those that this service writes."""
        parts = parse(raw)
        kid, typ = parts.header.get("kid"), parts.header.get("typ", "JWT")
        key = await self._ring.find(kid) if isinstance(kid, str) and len(kid) <= 128 else None
        if key is None:
            if self._external:
                return self._external_claims(raw, parts.payload)
            raise invalid("unknown key id")
        if not parts.header.keys() <= _OWN_HEADER or not isinstance(typ, str) or typ.upper() != "JWT":
            raise invalid("unexpected header")
        if parts.header.get("alg") != key.algorithm:
            raise invalid("algorithm does not match the key")
        if not key.verify(parts.signing_input, parts.signature):
            raise invalid("signature verification failed")
        return self._validated_claims(parts.payload)

    def _validated_claims(self, payload: bytes) -> dict[str, Any]:
        claims = read_object(payload)
        check_claims(claims, issuer=self._issuer, audience=self._audience, now=self._clock.timestamp())
        return claims

    def _external_claims(self, raw: bytes, payload: bytes) -> dict[str, Any]:
        """The claims of an external issuer's token. The unverified ``iss`` only selects the keys to verify it with."""
        issuer = self._external.get(str(read_object(payload).get("iss")))
        if issuer is None:
            raise invalid("untrusted issuer")
        return issuer.verify(raw.decode("ascii"), self._clock.timestamp())

    async def _require_not_revoked(self, entry: VerifiedToken) -> None:
        await self._tenants.require_active_for_token(entry.manufacturer_id, entry.account_id)
        revocations = self._revocations
        if not revocations.is_fresh(self._clock.monotonic()):
            await revocations.refresh()
        if revocations.is_revoked(entry.jti):
            raise _revoked()
        if not revocations.complete and await revocations.is_revoked_in_store(entry.jti):
            raise _revoked()
        if entry.sid is None:
            if revocations.is_cut_off(entry.manufacturer_id, entry.account_id, entry.issued_ms):
                raise _revoked()
        elif await self._sessions.get_alive(entry.sid) is None:
            raise TokenRevokedError("The token is invalid: its session has ended.", code="SESSION_ENDED")


def _verified_token(claims: dict[str, Any]) -> VerifiedToken:
    roles = claims.get("roles")
    return VerifiedToken(
        claims=claims,
        roles=roles if isinstance(roles, list) else [],
        expires_at=claims["exp"],
        jti=claims["jti"],
        sid=claims.get("sid"),
        manufacturer_id=claims["manufacturer_id"],
        account_id=claims["sub"],
        issued_ms=issued_milliseconds(claims),
    )


def _revoked() -> TokenRevokedError:
    return TokenRevokedError("The token is invalid: it was revoked.")
