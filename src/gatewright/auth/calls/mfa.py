"""Calls about second factors, passkeys and trusted devices.

Each acts on one account: ``account_id``, or that of the context given in place of ``manufacturer_id``. A foundation
refuses a call that names none (``ACCOUNT_ID_REQUIRED``); only a manager that is built alone defaults to the owner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from gatewright.auth.account_directory import CallerContext, Person
from gatewright.auth.client_signals import client_info
from gatewright.auth.mfa.passkeys import PasskeyChallenge
from gatewright.auth.records import MFAEnrolment, PasskeyInfo, TrustedDevice
from gatewright.auth.services import AuthServices
from gatewright.auth.sessions.service import SessionService
from gatewright.errors import InvalidCredentialsError, MFARequiredError
from gatewright.performance import performance_monitor


class MFACalls:
    """What proves a person besides the password."""

    access: AuthServices
    sessions: SessionService

    async def setup_mfa(self, manufacturer_id: str | CallerContext, *, account_id: str | None = None) -> MFAEnrolment:
        """Begin with an authenticator app: a secret, its QR code and ten backup codes, shown once.

        Codes verify from now on; sign-in asks for them after :meth:`confirm_mfa`. One that is active stays so
        until then.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.enrolment.begin(person)

    async def confirm_mfa(
        self,
        manufacturer_id: str | CallerContext,
        token: str,
        *,
        account_id: str | None = None,
        client: Any = None,
        session_id: str | None = None,
    ) -> bool:
        """Turn MFA on with a code of the app.

        Args:
            session_id: the session in which a person does this by themselves. Unless it has shown a second factor
                recently, a first factor does not count for sensitive operations for a day, or until it is confirmed
                by mail (:meth:`request_factor_confirmation`). None: the caller answers for the person.

        Raises:
            MFARequiredError: the account has a factor, and the session has not shown it recently.
            InvalidCredentialsError: the code is wrong (code ``INVALID_MFA_CODE``); ``drift_seconds`` in its
                context says that the phone's clock is.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        async with self._first_factor(person, session_id):
            await self.access.enrolment.confirm(person, token, client=client_info(client))
        return True

    @asynccontextmanager
    async def _first_factor(self, person: Person, session_id: str | None) -> AsyncIterator[None]:
        """Around the enrolment of a factor: what a session adds that nobody vouches for is held back, from before it
        is there; what somebody vouches for counts, and so does the session.

        An account that has a factor shows it before it gets another. That is asked here, where the factor comes into
        being, and not only at the beginning: what a thief began before the owner had one is not finished after.
        """
        if session_id is None:
            yield
            return
        session = await self.sessions.get_alive(session_id)
        vouched = session is not None and self.access.vouching.is_vouched(session)
        if not vouched:
            if await self.access.factors.enabled(person.account_id):
                raise MFARequiredError("This account has a second factor: show it before you add another.")
            await self.access.vouching.hold(person.account_id)
        yield
        if vouched:
            await self.access.vouching.release(person.account_id)
            await self.sessions.note_mfa(session_id)

    async def factors_held_until(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> datetime | None:
        """When the account's second factors count for sensitive operations; None when they do."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.vouching.held_until(person.account_id)

    async def request_factor_confirmation(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> None:
        """Mail a token that lets a new second factor count at once.

        Raises:
            RateLimitExceededError: too many were mailed.
        """
        await self.access.vouching.request(await self.access.people.of(manufacturer_id, account_id))

    async def confirm_factor(
        self, manufacturer_id: str | CallerContext, token: str, *, account_id: str | None = None
    ) -> None:
        """Let a new second factor count, by the token of the mail.

        Raises:
            InvalidTokenError: unknown, used, expired or another account's (code ``INVALID_CONFIRMATION_TOKEN``).
        """
        await self.access.vouching.redeem(await self.access.people.of(manufacturer_id, account_id), token)

    @performance_monitor(max_time=0.05, name="ManufacturerAuthManager.verify_mfa_token")
    async def verify_mfa_token(
        self, manufacturer_id: str | CallerContext, token: str, *, account_id: str | None = None, client: Any = None
    ) -> bool:
        """Whether it is a code of the app now (one step of tolerance either side); each step is accepted once.

        Raises:
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        verdict = await self.access.factors.verify_totp(person, token, client=client_info(client), waiting=True)
        return verdict == "accepted"

    async def generate_backup_codes(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> list[str]:
        """Ten new backup codes of eight letters and digits, shown once; the old ones die."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.enrolment.renew_backup_codes(person)

    @performance_monitor(max_time=0.05, name="ManufacturerAuthManager.verify_backup_code")
    async def verify_backup_code(
        self, manufacturer_id: str | CallerContext, code: str, *, account_id: str | None = None, client: Any = None
    ) -> bool:
        """Whether it is an unused backup code; it is used up by that.

        Raises:
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.factors.verify_backup_code(person, code, client=client_info(client)) == "accepted"

    async def mfa_enabled(self, manufacturer_id: str | CallerContext, *, account_id: str | None = None) -> bool:
        """Whether sign-in asks for a second factor that is enrolled."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.factors.enabled(person.account_id)

    async def disable_mfa(
        self, manufacturer_id: str | CallerContext, proof: Any, *, account_id: str | None = None, client: Any = None
    ) -> bool:
        """Remove the app and the backup codes.

        Args:
            proof: a code of the app, a backup code, or a passkey assertion with its challenge id.

        Raises:
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``).
            AuthorizationError: policy requires a second factor (code ``MFA_REQUIRED_BY_POLICY``).
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        await self.access.enrolment.disable(person, proof, client=client_info(client))
        return True

    async def reset_mfa(
        self, manufacturer_id: str | CallerContext, *, actor: str, reason: str, account_id: str | None = None
    ) -> None:
        """For staff: remove every second factor of somebody who lost them; audited, and the owner is told.

        Sessions end, and until a new factor is enrolled sign-in asks for a code by mail.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        await self.access.enrolment.reset_by_staff(person, actor=actor, reason=reason)

    async def note_mfa(self, session_id: str) -> bool:
        """Note that a second factor was shown in this session just now; False when it is not alive."""
        return await self.sessions.note_mfa(session_id)

    async def step_up(self, session_id: str, proof: Any, *, client: Any = None) -> None:
        """Show a second factor again within a session, so that :meth:`require_recent_mfa` lets it pass.

        Args:
            proof: a code of the app, a backup code, or ``{"challenge_id": ..., "assertion": ...}`` of a passkey.

        Raises:
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``), or the session has ended.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
            MFARequiredError: the factor does not count yet (code ``FACTOR_TOO_NEW``).
            ValidationError: the session is no person's (code ``ACCOUNT_ID_REQUIRED``).
        """
        session = await self.sessions.get_alive(session_id)
        if session is None:
            raise InvalidCredentialsError("The session has ended.", code="SESSION_ENDED")
        person = await self.access.people.of_session(session.manufacturer_id, session.account_id)
        await self.access.vouching.require_counting(person.account_id)
        if await self.access.factors.prove(person, proof, client=client_info(client)) is None:
            raise InvalidCredentialsError("The code is not valid.", code="INVALID_MFA_CODE")
        await self.sessions.note_mfa(session_id)

    # --- trusted devices ----------------------------------------------------------------------------------------

    async def register_trusted_device(
        self,
        manufacturer_id: str | CallerContext,
        client: Any = None,
        *,
        name: str | None = None,
        account_id: str | None = None,
    ) -> TrustedDevice:
        """Trust the device that ``client`` is. The result has the ``device_token`` to show from now on, once."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.devices.remember(person, client_info(client), name=name)

    async def verify_device(
        self,
        manufacturer_id: str | CallerContext,
        device_token: str,
        *,
        client: Any = None,
        account_id: str | None = None,
    ) -> bool:
        """Whether the token is of a trusted device of this account.

        Args:
            client: who shows it; where given, it must be the same kind of browser on the same platform.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.devices.verify(person, device_token, client_info(client))

    async def list_devices(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> list[TrustedDevice]:
        """Devices that are trusted now, newest first."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.devices.listed(person)

    async def revoke_device(
        self, manufacturer_id: str | CallerContext, device_id: str, *, account_id: str | None = None
    ) -> bool:
        """Trust a device no longer; whether it was trusted."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.devices.revoke(person, device_id)

    # --- passkeys -----------------------------------------------------------------------------------------------

    async def begin_passkey_registration(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> PasskeyChallenge:
        """The options for ``navigator.credentials.create``."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.passkeys.begin_registration(person)

    async def finish_passkey_registration(
        self,
        challenge_id: str,
        credential: Mapping[str, Any],
        *,
        name: str = "passkey",
        account_id: str | None = None,
        session_id: str | None = None,
    ) -> PasskeyInfo:
        """Keep the passkey that the browser made; several for an account.

        Args:
            account_id: the account that began; any other is refused.
            session_id: as in :meth:`confirm_mfa`.

        Raises:
            InvalidCredentialsError: anything does not agree (code ``INVALID_PASSKEY``).
        """
        if session_id is None:
            await self.access.people.finishing(account_id)
            kept = await self._finish_passkey(challenge_id, credential, name, account_id)
        else:
            session = await self.sessions.get_alive(session_id)
            if session is None:
                raise InvalidCredentialsError("The session has ended.", code="SESSION_ENDED")
            owner = await self.access.people.of_session(session.manufacturer_id, session.account_id)
            if account_id not in (None, owner.account_id):
                raise InvalidCredentialsError("The session is another account's.", code="INVALID_PASSKEY")
            async with self._first_factor(owner, session_id):
                kept = await self._finish_passkey(challenge_id, credential, name, owner.account_id)
        person = await self.access.people.by_account(kept.account_id)
        if person is not None:
            await self.access.enrolment.tell_of_passkey(person)
        return kept

    async def _finish_passkey(
        self, challenge_id: str, credential: Mapping[str, Any], name: str, account_id: str | None
    ) -> PasskeyInfo:
        return await self.access.passkeys.finish_registration(
            challenge_id, credential, name=name, account_id=account_id
        )

    async def list_passkeys(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> list[PasskeyInfo]:
        """The account's passkeys, oldest first."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.passkeys.listed(person)

    async def remove_passkey(
        self, manufacturer_id: str | CallerContext, passkey_id: str, *, account_id: str | None = None
    ) -> bool:
        """Remove a passkey; whether there was one."""
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.passkeys.remove(person, passkey_id)
