"""Vouching for a first second factor, so that a stolen session cannot enroll one and step up with it.

Anyone with a session can enroll an authenticator app or passkey for an account that has none. If that factor were
accepted immediately, a stolen session without a second factor could satisfy every call that requires one. A first
factor is therefore accepted for sensitive operations only once one of these vouches for it:

- It was added in a session that had just shown a second factor, such as an emailed code.
- Its owner confirmed it from the account's mailbox.
- It is a day old. The owner is notified by email immediately, and has that long to object.

Sign-in asks for the factor from the start. Confirmation by email lets new customers work on their first day; it proves
access to the mailbox rather than the password, because passwords are what attackers phish.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gatewright import event_kinds
from gatewright.auth.account_directory import Person, event_fields
from gatewright.auth.mailer import Mailer
from gatewright.auth.mfa.challenges import Challenges
from gatewright.auth.records import Factor
from gatewright.auth.sign_in_limits import SignInThrottle
from gatewright.clock import Clock
from gatewright.errors import InvalidTokenError, MFARequiredError, RateLimitExceededError
from gatewright.events import EventSink, Severity, emitter
from gatewright.notify import Directions
from gatewright.storage.credentials import FactorStore
from gatewright.storage.sessions import StoredSession

HELD_FOR = timedelta(days=1)
"""How long a factor is held if nothing vouches for it."""

LIFETIME = timedelta(hours=1)
"""Lifetime of a confirmation token."""

_PURPOSE = "factor-confirmation"


class FactorVouching:
    """Holds first factors until something vouches for them.

    Args:
        recent: maximum age of a second factor in the session that vouches for a new one.
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
        self._clock = clock
        self._emit = emitter(sink, clock)

    async def hold(self, account_id: str) -> datetime:
        """Hold the account's new factor for a day. Returns when the hold ends."""
        until = self._clock.now() + HELD_FOR
        await self._store.hold_factors(account_id, until)
        return until

    async def release(self, account_id: str) -> None:
        """End the hold on the account's factors."""
        await self._store.release_factors(account_id)

    async def held_until(self, account_id: str) -> datetime | None:
        """When the hold on the account's factors ends. None if they are not held."""
        until = await self._store.factors_held_until(account_id)
        return until if until is not None and until > self._clock.now() else None

    async def require_not_held(self, account_id: str) -> None:
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
        """Whether the session showed a second factor recently, which may be an emailed code."""
        shown = session.mfa_at
        if shown is None and Factor.EMAIL_CODE.value in session.factors:
            shown = session.created_at
        return shown is not None and self._clock.now() - shown <= self._recent

    async def request(self, person: Person) -> None:
        """Email a token that vouches for the account's factors.

        Raises:
            RateLimitExceededError: too many tokens were emailed.
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
        """End the hold with the token from the email.

        Raises:
            InvalidTokenError: the token is unknown, used, expired or another account's (code
                ``INVALID_CONFIRMATION_TOKEN``).
        """
        found = await self._challenges.get(_PURPOSE, token)
        if found is None or found.subject != person.account_id or not await self._challenges.take(_PURPOSE, token):
            raise InvalidTokenError(
                "The confirmation token is invalid: unknown, used or expired. Request a new one.",
                code="INVALID_CONFIRMATION_TOKEN",
            )
        await self.release(person.account_id)
        self._emit(event_kinds.AUTH_MFA_VOUCHED, Severity.NOTICE, **event_fields(person))
