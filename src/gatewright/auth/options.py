"""Options of identity: tokens, sessions, second factors and lockout."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from gatewright.auth.passwords.hashing import Argon2Parameters
from gatewright.auth.sessions.risk import RiskPolicy
from gatewright.auth.sessions.service import SessionRules
from gatewright.auth.sign_in_limits import SignInLimits
from gatewright.records import Record
from gatewright.storage.attempts import AttemptPolicy, Rate

if TYPE_CHECKING:
    from gatewright.policy import ActionRate, Policy, ThrottlePolicy
    from gatewright.settings import Settings


class AccessOptions(Record, frozen=True, kw_only=True):
    """What an installation may set about the ways in; the defaults are those of a manager built alone.

    ``password_min_length`` None: 8 where MFA is required, 12 for a manager built alone, else 15.
    ``hashing_threads`` None: one for each core. ``account_pages_url`` None: mails tell a call, and link to no page.
    """

    argon2: Argon2Parameters = Argon2Parameters()
    hashing_threads: int | None = None
    hashing_queue_limit: int = 256
    password_min_length: int | None = None
    breached_passwords_url: str | None = None
    mfa_required: bool = False
    mfa_issuer: str = "Gatewright"
    recent_mfa: timedelta = timedelta(minutes=15)
    trusted_device_lifetime: timedelta = timedelta(days=30)
    public_url: str = "http://localhost:8000"
    account_pages_url: str | None = None
    passkey_rp_id: str | None = None
    password_attempts: AttemptPolicy = AttemptPolicy()
    code_attempts: AttemptPolicy = AttemptPolicy()
    limits: SignInLimits = SignInLimits()

    @classmethod
    def from_settings(cls, settings: Settings, policy: Policy | None = None) -> AccessOptions:
        """The options that settings and policy of an installation represent."""
        attempts, limits = _of_policy(policy.throttles) if policy else (AttemptPolicy(), SignInLimits())
        return cls(
            argon2=Argon2Parameters(
                time_cost=settings.argon2_time_cost,
                memory_kib=settings.argon2_memory_kib,
                parallelism=settings.argon2_parallelism,
            ),
            hashing_queue_limit=settings.hashing_queue_limit,
            password_min_length=settings.password_min_length,
            breached_passwords_url=settings.breached_passwords_url,
            mfa_required=settings.mfa_required,
            mfa_issuer=settings.mfa_issuer,
            recent_mfa=timedelta(seconds=settings.recent_mfa_seconds),
            public_url=settings.public_url,
            account_pages_url=settings.account_pages_url,
            passkey_rp_id=settings.passkey_rp_id,
            password_attempts=attempts,
            code_attempts=attempts,
            limits=limits,
        )


class AuthOptions(Record, frozen=True, kw_only=True):
    """What an installation may set about tokens and sessions.

    ``access_lifetime`` is for the tokens of sign-in and refresh (None: ``token_expiry_hours``).
    ``refresh_grace`` and ``revocation_window`` are in seconds. ``key_rotation`` is the age at which the signing
    key is replaced (None: only manually).
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
        """The options that settings and policy of an installation represent."""
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


def _of_policy(throttles: ThrottlePolicy) -> tuple[AttemptPolicy, SignInLimits]:
    attempts = AttemptPolicy(
        free=throttles.free_failures,
        limit=throttles.lock_after,
        first_delay=throttles.first_delay,
        lock=throttles.lock,
        longest_lock=throttles.longest_lock,
    )
    limits = SignInLimits(
        account=_rate(throttles.account),
        network=_rate(throttles.network),
        failure_cost=throttles.failure_cost,
        device=_rate(throttles.device),
        everyone=_rate(throttles.everyone),
        mail=_rate(throttles.mail),
    )
    return attempts, limits


def _rate(action: ActionRate) -> Rate:
    return Rate(limit=action.limit, period=action.period)
