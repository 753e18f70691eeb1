"""External issuers: tokens that a platform accepts, with their keys and clock leeway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gatewright.auth.tokens.claims import expired
from gatewright.auth.tokens.jwks import KeySet
from gatewright.auth.tokens.jws import invalid, read_object
from gatewright.auth.tokens.keys import ALGORITHMS
from gatewright.errors import ConfigurationError

_LARGEST_TIME = 253_402_300_799


class ExternalIssuer:
    """An external issuer whose tokens are trusted.

    Its tokens must have ``manufacturer_id``, ``sub``, ``aud``, ``exp`` and ``iat``.

    Args:
        issuer: the required value of ``iss``.
        audience: the required value of ``aud``, or one of its values.
        jwks: the issuer's public keys as a JWK Set. Secret keys are rejected.
        manufacturers: the manufacturers that it may issue tokens for.
        leeway: tolerated clock skew in seconds, 0 to 300.

    Raises:
        ConfigurationError: the keys are not secure, or the leeway is out of range.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks: Mapping[str, Any],
        *,
        manufacturers: Collection[str],
        leeway: float = 60.0,
    ) -> None:
        if not 0 <= leeway <= 300:
            raise ConfigurationError(f"leeway={leeway}: must be 0 to 300 seconds; 60 suits most clocks.")
        self.issuer = issuer
        self._audience = audience
        self._keys = KeySet(jwks, algorithms=[name for name in ALGORITHMS if name != "HS256"])
        self._manufacturers = frozenset(manufacturers)
        self._leeway = leeway

    def verify(self, token: str, now: float) -> dict[str, Any]:
        """The claims of one of its tokens, in the form of those of this service.

        Raises:
            TokenExpiredError: the token has expired, including the leeway.
            InvalidTokenError: it is invalid for another reason.
        """
        claims = read_object(self._keys.verify(token).payload)
        audience = claims.get("aud")
        if claims.get("iss") != self.issuer:
            raise invalid("wrong issuer")
        if audience != self._audience and not (isinstance(audience, list) and self._audience in audience):
            raise invalid("wrong audience")
        if claims.get("manufacturer_id") not in self._manufacturers:
            raise invalid("issuer not allowed for this manufacturer")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise invalid("sub is missing")
        self._check_times(claims, now)
        # The new id begins with a time as those of this service do, and cannot collide with one of them. An external
        # session id is dropped, because it does not identify a session of this service.
        external_id = str(claims.get("jti") or claims["sub"])[:128]
        claims.pop("sid", None)
        claims["exp"] += self._leeway
        return {**claims, "jti": f"{int(claims['iat'] * 1000):012x}~{self.issuer}~{external_id}"}

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        for name in ("exp", "iat"):
            value = claims.get(name)
            if type(value) not in (int, float) or not 0 < value <= _LARGEST_TIME:  # type: ignore[operator]  # just checked
                raise invalid(f"{name} is not a valid time")
        if now >= claims["exp"] + self._leeway:
            raise expired()
        not_before = claims.get("nbf", claims["iat"])
        if type(not_before) not in (int, float) or max(not_before, claims["iat"]) > now + self._leeway:
            raise invalid("not valid yet")
