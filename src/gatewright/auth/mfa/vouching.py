"""Vouching for a first second factor, so that a stolen session cannot enroll one and step up with it.

Whoever holds a session can enroll an authenticator app or passkey where the account has none. If it counted at once, a
session without any second factor could satisfy every call that asks for one. So a first factor counts for sensitive
operations only when something vouches for it: it was added in a session that had just shown a second factor (a
mailed code is one), its owner has shown access to the account's mailbox, or it is a day old, which leaves the owner,
who is informed by mail at once, time to object. Sign-in asks for it from the first moment on.

A mailed confirmation decides rather than the age alone, because a new customer must be able to work on the first day;
it is the mailbox rather than the password, because passwords are what is phished.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
from gatewright.auth.mailer import Mailer
from gatewright.auth.mfa.challenges import Challenges
from gatewright.auth.records import Factor
from gatewright.auth.sign_in_limits import SignInThrottle
from gatewright.clock import Clock
from gatewright.errors import InvalidTokenError, MFARequiredError, RateLimitExceededError
from gatewright.events import EventSink, Severity, event
from gatewright.notify import Directions
from gatewright.storage.credentials import FactorStore
from gatewright.storage.sessions import StoredSession

HELD_FOR = timedelta(days=1)
"""Seconds before a factor that nobody vouched for counts."""

LIFETIME = timedelta(hours=1)
"""Of a mailed confirmation."""

_PURPOSE = "factor-confirmation"


class FactorVouching:
    """Holds first factors back until someone vouches for them.

    Args:
        recent: how old a second factor of the session may be to vouch for another one.
    """

    def __init__(
        self,
        store: FactorStore,
        challenges: Challenges,
        throttle: SignInThrottle,
        mailer: Mailer,
        directions: Directions,
        *,
        recent: timedelta,
        sink: EventSink,
        clock: Clock,
    ) -> None:
        self._store = store
        self._challenges = challenges
        self._throttle = throttle
        self._mailer = mailer
        self._directions = directions
        self._recent = recent
        self._sink = sink
        self._clock = clock

    async def hold(self, account_id: str) -> datetime:
        """Let what is added now not count for a day; when it does."""
        until = self._clock.now() + HELD_FOR
        await self._store.hold_factors(account_id, until)
        return until

    async def release(self, account_id: str) -> None:
        """Let the account's factors count."""
        await self._store.release_factors(account_id)

    async def held_until(self, account_id: str) -> datetime | None:
        """When the account's factors count; None when they do now."""
        until = await self._store.factors_held_until(account_id)
        return until if until is not None and until > self._clock.now() else None

    async def require_counting(self, account_id: str) -> None:
        """Raise MFARequiredError (``FACTOR_TOO_NEW``) while the account's factors are held."""
        until = await self.held_until(account_id)
        if until is not None:
            raise MFARequiredError(
                f"This second factor was added without another one, and can be used for sensitive operations "
                f"from {until:%Y-%m-%d %H:%M} UTC. To use it now, confirm it by email: POST /v1/mfa/confirmations.",
                code="FACTOR_TOO_NEW",
                context={"counts_from": until.isoformat()},
            )

    def is_vouched(self, session: StoredSession) -> bool:
        """Whether a session has shown a second factor recently, a mailed code included."""
        shown = session.mfa_at
        if shown is None and Factor.EMAIL_CODE.value in session.factors:
            shown = session.created_at
        return shown is not None and self._clock.now() - shown <= self._recent

    async def request(self, person: Person) -> None:
        """Mail the token that vouches for the account's factors.

        Raises:
            RateLimitExceededError: too many were mailed.
        """
        if not await self._throttle.admit_mail("factor", person.account_id):
            raise RateLimitExceededError("Too many confirmation emails. Wait an hour.", retry_after=3_600)
        await self._challenges.drop(_PURPOSE, person.account_id)
        token = await self._challenges.create(_PURPOSE, person.account_id, lifetime=LIFETIME)
        how, data = self._directions.for_token(token, "/v1/mfa/confirmations/redeem", "confirm-factor")
        await self._mailer.post(
            person.account.email,
            "Confirm your new second factor",
            f"To use your new second factor for sensitive operations now, {how}\n\nThe token can be used once, within"
            " an hour. If you did not add a second factor, change your password and contact us.",
            kind="factor_confirmation",
            data=data,
        )

    async def redeem(self, person: Person, token: object) -> None:
        """Let the account's factors count, by the token of the mail.

        Raises:
            InvalidTokenError: unknown, used, expired or another account's (code ``INVALID_CONFIRMATION_TOKEN``).
        """
        found = await self._challenges.look(_PURPOSE, token)
        if found is None or found.subject != person.account_id or not await self._challenges.take(_PURPOSE, token):
            raise InvalidTokenError(
                "The confirmation token is invalid: unknown, used or expired. Request a new one.",
                code="INVALID_CONFIRMATION_TOKEN",
            )
        await self.release(person.account_id)
        self._sink.emit(
            event(
                event_kinds.AUTH_MFA_VOUCHED,
                severity=Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=person.manufacturer_id,
                account_id=person.account_id,
            )
        )
