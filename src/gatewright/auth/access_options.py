"""Options of sign-in, passwords, second factors and registration."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gatewright.auth.abuse import SignInLimits
from gatewright.auth.passwords.hashing import Argon2Parameters
from gatewright.records import Record
from gatewright.storage.attempts import AttemptPolicy
from gatewright.storage.throttle import Rate

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
        """The options that settings and policy of an installation stand for."""
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
