"""Options of the identity services, with the defaults of a manager that is built alone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from gatewright.auth.access_options import AccessOptions
from gatewright.auth.risk import RiskPolicy
from gatewright.auth.sessions import SessionRules
from gatewright.records import Record

if TYPE_CHECKING:
    from gatewright.policy import Policy
    from gatewright.settings import Settings


class AuthOptions(Record, frozen=True, kw_only=True):
    """What an installation may set about tokens and sessions.

    ``access_lifetime`` is for the tokens of sign-in and refresh (None: ``token_expiry_hours``).
    ``refresh_grace`` and ``revocation_window`` are in seconds. ``key_rotation`` is the age at which the signing
    key is replaced (None: only by hand).
    """

    issuer: str = "gatewright"
    audience: str = "gatewright"
    access_lifetime: timedelta | None = None
    refresh_lifetime: timedelta = timedelta(days=30)
    refresh_grace: float = 10.0
    revocation_window: float = 30.0
    key_rotation: timedelta | None = None
    recent_mfa: timedelta = timedelta(minutes=15)
    sessions: SessionRules = SessionRules()
    risk: RiskPolicy = RiskPolicy()
    access: AccessOptions = AccessOptions()

    @classmethod
    def from_settings(cls, settings: Settings, policy: Policy | None = None) -> AuthOptions:
        """The options that settings and policy of an installation stand for."""
        options = cls(
            issuer=settings.issuer,
            audience=settings.audience,
            access_lifetime=timedelta(minutes=settings.access_token_minutes),
            refresh_lifetime=timedelta(days=settings.refresh_token_days),
            refresh_grace=settings.refresh_grace_seconds,
            revocation_window=settings.revocation_window_seconds,
            key_rotation=timedelta(days=settings.signing_key_rotation_days),
            recent_mfa=timedelta(seconds=settings.recent_mfa_seconds),
            access=AccessOptions.from_settings(settings, policy),
        )
        if policy is None:
            return options
        rules = policy.sessions
        return msgspec.structs.replace(
            options,
            sessions=SessionRules(
                absolute=timedelta(seconds=rules.absolute),
                idle=timedelta(seconds=rules.idle),
                limit=rules.concurrent,
            ),
            risk=RiskPolicy(note=rules.note_at, require_mfa=rules.require_mfa_at, end=rules.end_at),
        )
