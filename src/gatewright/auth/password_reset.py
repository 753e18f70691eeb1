"""Password change and reset. A reset proves access to the mailbox and never replaces a second factor."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from gatewright import event_kinds
from gatewright.auth.account_directory import Person, event_fields
from gatewright.auth.account_parts import AccountParts
from gatewright.auth.lockout import AttemptSubject
from gatewright.auth.passwords import MAX_PASSWORD_LENGTH, PasswordPolicy
from gatewright.auth.records import ClientInfo
from gatewright.auth.root_secret import bounded_text
from gatewright.auth.sessions.issuer import SessionTerminator
from gatewright.auth.sign_in import CHALLENGE, MAX_ADDRESS_LENGTH
from gatewright.business import canonical_email
from gatewright.errors import InvalidCredentialsError, InvalidTokenError, MFARequiredError, ValidationError
from gatewright.events import Severity, emitter
from gatewright.notify import Directions

RESET = "password-reset"
LIFETIME = timedelta(minutes=30)
RESPONSE_TIME = 0.03
"""Seconds that a reset request takes, whether or not the address is known."""


class Passwords:
    """Changes and resets passwords. Either ends the account's sessions and its trust in devices.

    Args:
        sessions: ends sessions.
        directions: the instructions in an email for using its token.
    """

    def __init__(
        self,
        parts: AccountParts,
        *,
        policy: PasswordPolicy,
        sessions: SessionTerminator,
        directions: Directions | None = None,
    ) -> None:
        self._store = parts.store
        self._directory = parts.directory
        self._hashing = parts.hashing
        self._policy = policy
        self._attempts = parts.attempts
        self._throttle = parts.throttle
        self._factors = parts.factors
        self._devices = parts.devices
        self._challenges = parts.challenges
        self._keyed = parts.keyed
        self._sessions = sessions
        self._mailer = parts.mailer
        self._directions = directions or Directions()
        self._emit = emitter(parts.sink, parts.clock)

    async def request_reset(self, email: object, *, client: ClientInfo | None = None) -> None:
        """Email a reset token if the address is known. Nothing reveals whether it is.

        Raises:
            RateLimitExceededError: too many attempts from this network.
        """
        started = time.monotonic()
        await self._throttle.admit(client)
        address = bounded_text(email, MAX_ADDRESS_LENGTH)
        key = self._keyed.of("account", canonical_email(address))
        admitted = await self._throttle.admit_mail("reset", key)
        person = await self._directory.by_address(canonical_email(address))
        mailed = admitted and person is not None and person.active
        # An address that gets no email also gets a stored token, which nobody receives, so that the work is the same.
        subject = person.account_id if person and mailed else key
        token = await self._challenges.create(RESET if mailed else f"{RESET}-decoy", subject, lifetime=LIFETIME)
        self._emit(
            event_kinds.AUTH_PASSWORD_RESET_REQUESTED, Severity.INFO, **event_fields(person, client), mailed=mailed
        )
        if person is not None and mailed:
            how, data = self._directions.for_token(
                token,
                "/v1/auth/password/reset",
                "reset",
                new_password="a new password",  # noqa: S106 - a placeholder in an email
            )
            await self._mailer.post(
                person.account.email,
                "Reset your password",
                f"To choose a new password, {how}\n\nThe token can be used once, within 30 minutes. If you did"
                " not request it, ignore this email; your password stays the same.",
                kind="reset_password",
                data=data,
            )
        # Sending email takes time that an unknown address does not need, so both take the same time.
        await asyncio.sleep(max(0.0, started + RESPONSE_TIME - time.monotonic()))

    async def reset(
        self, token: object, new_password: object, *, mfa_code: object = None, client: ClientInfo | None = None
    ) -> None:
        """Set a new password with a reset token. This does not sign in.

        Raises:
            InvalidTokenError: the token is unknown, used or expired (code ``INVALID_RESET_TOKEN``).
            MFARequiredError: the account has a second factor, so ``mfa_code`` is required; the token can be used again.
                Or staff reset its factors, and no new one is enrolled yet (code ``RECOVERY_PENDING``).
            InvalidCredentialsError: the code is wrong (code ``INVALID_MFA_CODE``).
            ValidationError: the new password is not acceptable.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        secret = await self._challenges.get(RESET, token)
        person = await self._directory.by_account(secret.subject) if secret else None
        if secret is None or person is None or not person.active:
            raise _invalid_token()
        new_hash = await self._hash_acceptable(person, new_password)
        await self._require_second_factor(person, mfa_code, client)
        if await self._challenges.take(RESET, token) is None:
            raise _invalid_token()
        await self._replace(person, new_hash, reason="password reset", keep=None)
        await self._attempts.clear(self._keyed.of("account", person.account.email_key), client)
        self._emit(event_kinds.AUTH_PASSWORD_RESET, Severity.NOTICE, **event_fields(person, client))
        await self._notify(person, "Your password was reset.")

    async def change(
        self,
        person: Person,
        current_password: object,
        new_password: object,
        *,
        session_id: str | None = None,
        client: ClientInfo | None = None,
    ) -> None:
        """Replace the password of someone who knows it. Other sessions end, and devices are no longer trusted.

        Args:
            session_id: the caller's session, which does not end.

        Raises:
            InvalidCredentialsError: the current password is wrong.
            ValidationError: the new password is not acceptable.
            RateLimitExceededError, AccountLockedError: too many wrong passwords.
        """
        current = bounded_text(current_password, MAX_PASSWORD_LENGTH)
        subject = AttemptSubject(manufacturer_id=person.manufacturer_id, account_id=person.account_id)
        async with self._attempts.account.attempt(f"change:account:{person.account_id}", subject) as attempt:
            check = await self._hashing.verify(person.account.password_hash, current)
            attempt.outcome = "right" if check.right else "wrong"
        if not check.right:
            self._emit(event_kinds.AUTH_PASSWORD_CHANGE_FAILED, Severity.WARNING, **event_fields(person, client))
            raise InvalidCredentialsError("The current password is incorrect.")
        if new_password == current:
            raise ValidationError(
                "The new password must differ from the current one.",
                code="PASSWORD_UNCHANGED",
                recommended_action="Choose a different password.",
            )
        new_hash = await self._hash_acceptable(person, new_password)
        await self._replace(person, new_hash, reason="password changed", keep=session_id)
        self._emit(event_kinds.AUTH_PASSWORD_CHANGED, Severity.NOTICE, **event_fields(person, client))
        await self._notify(person, "Your password was changed.")

    # ------------------------------------------------------------------------------------------------------------

    async def _hash_acceptable(self, person: Person, new_password: object) -> str:
        words = (person.account.email, person.manufacturer.company_name)
        errors = await self._policy.check(new_password, words=words, field="new_password")
        if errors:
            raise ValidationError(errors[0].message, errors=errors, code=errors[0].error_type)
        return await self._hashing.hash(str(new_password))

    async def _require_second_factor(self, person: Person, mfa_code: object, client: ClientInfo | None) -> None:
        if await self._factors.recovering(person.account_id):
            # Sign-in accepts an emailed code now. With an emailed reset token, the mailbox alone would be enough.
            raise MFARequiredError(
                "The second factor of this account is being recovered, so its password cannot be reset by email now.",
                code="RECOVERY_PENDING",
                recommended_action="Sign in with the password and enroll a second factor, or contact support.",
            )
        if not await self._factors.enabled(person.account_id):
            return
        if mfa_code is None or mfa_code == "":
            raise MFARequiredError(
                "This account has a second factor. Send its code with the new password.",
                recommended_action="Send mfa_code: a code from your authenticator app, or a backup code.",
            )
        if await self._factors.prove(person, mfa_code, client=client) is None:
            raise InvalidCredentialsError("The code is invalid.", code="INVALID_MFA_CODE")

    async def _replace(self, person: Person, new_hash: str, *, reason: str, keep: str | None) -> None:
        await self._store.update_account(person.account_id, password_hash=new_hash)
        await self._challenges.drop(RESET, person.account_id)
        await self._challenges.drop(CHALLENGE, person.account_id)
        await self._devices.revoke_all(person)
        await self._sessions.end_all(
            person.manufacturer_id, reason=reason, account_id=person.account_id, except_session=keep
        )

    async def _notify(self, person: Person, sentence: str) -> None:
        await self._mailer.post(
            person.account.email,
            "Your password was changed",
            f"{sentence} Your other devices were signed out. If this was not you, reset your password now and"
            " contact us.",
            kind="password_changed",
        )


def _invalid_token() -> InvalidTokenError:
    return InvalidTokenError(
        "The reset token is invalid: unknown, used or expired.",
        code="INVALID_RESET_TOKEN",
        recommended_action="Request another password reset.",
    )
