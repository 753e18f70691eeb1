"""Enrollment, renewal and removal of second factors, without a way around them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from gatewright import event_kinds
from gatewright.auth.account_directory import Person, event_fields
from gatewright.auth.mailer import Mailer
from gatewright.auth.mfa.devices import TrustedDevices
from gatewright.auth.mfa.totp import (
    STEP_SECONDS,
    match_totp,
    new_totp_secret,
    normalize_totp,
    provisioning_uri,
    qr_code,
)
from gatewright.auth.mfa.verifier import FactorVerifier, hash_code, new_backup_codes
from gatewright.auth.records import ClientInfo, MFAEnrolment
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.sessions.issuer import SessionTerminator
from gatewright.clock import Clock, SystemClock
from gatewright.errors import AuthorizationError, InvalidCredentialsError
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.credentials import FactorStore, StoredTotp


class Enrollment:
    """Enrolls, renews and removes second factors.

    Args:
        issuer: the name that authenticator apps show.
        sessions: ends the sessions of an account when staff reset its factors.
        mailer: notifies the owner of changes.
    """

    def __init__(
        self,
        store: FactorStore,
        factors: FactorVerifier,
        keyed: KeyedHash,
        devices: TrustedDevices,
        *,
        issuer: str = "Gatewright",
        sessions: SessionTerminator | None = None,
        mailer: Mailer | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._factors = factors
        self._keyed = keyed
        self._devices = devices
        self._issuer = issuer
        self._sessions = sessions
        self._mailer = mailer
        self._clock = clock or SystemClock()
        self._emit = emitter(sink, self._clock)

    async def begin(self, person: Person) -> MFAEnrolment:
        """Create a TOTP secret and backup codes. An active secret stays valid until the new one is confirmed."""
        secret, codes, enrolment_id = new_totp_secret(), new_backup_codes(), secrets.token_hex(16)
        totp = StoredTotp(
            enrolment_id=enrolment_id,
            account_id=person.account_id,
            secret=self._factors.seal(person.account_id, enrolment_id, secret),
            created_at=self._clock.now(),
        )
        await self._store.put_totp(totp, [hash_code(self._keyed, person.account_id, code) for code in codes])
        self._emit(event_kinds.AUTH_MFA_ENROLMENT_STARTED, Severity.INFO, **event_fields(person))
        uri = provisioning_uri(secret, account=person.account.email, issuer=self._issuer)
        return MFAEnrolment(secret=secret, provisioning_uri=uri, qr_code=qr_code(uri), backup_codes=codes)

    async def confirm(self, person: Person, code: object, *, client: ClientInfo | None = None) -> None:
        """Confirm an enrollment with a code from the app, which turns MFA on.

        Raises:
            InvalidCredentialsError: the code is wrong (code ``INVALID_MFA_CODE``). If the phone's clock is off, the
                message says so and ``context`` has ``drift_seconds``.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        verdict = await self._factors.verify_totp(person, code, client=client, pending=True)
        if verdict == "accepted":
            await self._notify(person, "mfa_enabled", "Two-factor authentication is on for your account.")
            return
        drift = await self._drift(person, code) if verdict == "wrong" else None
        if drift is not None:
            raise InvalidCredentialsError(
                f"Your phone's clock is about {abs(drift)} seconds off.",
                code="INVALID_MFA_CODE",
                context={"drift_seconds": drift},
                recommended_action="Set your phone's clock to automatic, then enter the next code.",
            )
        raise InvalidCredentialsError(
            "The code is invalid.", code="INVALID_MFA_CODE", recommended_action="Enter the current code from the app."
        )

    async def notify_passkey_added(self, person: Person) -> None:
        """Notify the owner that a passkey was added, because a passkey alone can sign in.

        The email omits the passkey's name, which whoever added it chose.
        """
        await self._notify(person, "passkey_added", "A passkey was added to your account.")

    async def renew_backup_codes(self, person: Person) -> list[str]:
        """Replace the backup codes. The old ones become invalid."""
        codes = new_backup_codes()
        await self._store.replace_backup_codes(
            person.account_id, [hash_code(self._keyed, person.account_id, code) for code in codes]
        )
        self._emit(event_kinds.AUTH_BACKUP_CODES_GENERATED, Severity.NOTICE, **event_fields(person))
        return codes

    async def disable(
        self,
        person: Person,
        proof: object,
        *,
        client: ClientInfo | None = None,
        challenge: bytes | None = None,
    ) -> None:
        """Remove TOTP and backup codes. Requires one of the factors as proof.

        Raises:
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``).
            AuthorizationError: policy requires a second factor, and this is the account's last one (code
                ``MFA_REQUIRED_BY_POLICY``).
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        required = self._factors.required_by_policy(person.manufacturer_id)
        if required and not await self._store.list_passkeys(person.account_id):
            raise AuthorizationError(
                "A second factor is required. Enroll another one before you remove this one.",
                code="MFA_REQUIRED_BY_POLICY",
                recommended_action="Set up a new authenticator app, which replaces the old one.",
            )
        if await self._prove(person, proof, client, challenge) is None:
            raise InvalidCredentialsError("The proof is invalid.", code="INVALID_MFA_CODE")
        await self._store.delete_factors(person.account_id, passkeys=False)
        await self._devices.revoke_all(person)
        self._emit(event_kinds.AUTH_MFA_DISABLED, Severity.WARNING, **event_fields(person, client))
        await self._notify(person, "mfa_disabled", "Two-factor authentication was turned off for your account.")

    async def reset_by_staff(self, person: Person, *, actor: str, reason: str) -> None:
        """Remove all second factors of someone who lost them.

        Sessions end and devices are no longer trusted. Until a new factor is enrolled, sign-in requires an emailed
        code, so that recovery never needs fewer than two factors.
        """
        await self._store.set_recovering(person.account_id, True)
        await self._store.delete_factors(person.account_id, passkeys=True)
        await self._devices.revoke_all(person)
        if self._sessions is not None:
            await self._sessions.end_all(
                person.manufacturer_id, reason="mfa reset by staff", account_id=person.account_id
            )
        self._emit(event_kinds.AUTH_MFA_RESET, Severity.HIGH, **event_fields(person), actor=actor, reason=reason)
        await self._notify(
            person,
            "mfa_reset",
            "Our staff removed the second factors of your account. Until you enroll a new one, each sign-in asks for"
            " a code that we mail to you.",
        )

    async def _prove(self, person: Person, proof: object, client: ClientInfo | None, challenge: bytes | None) -> object:
        if await self._factors.enabled(person.account_id) or isinstance(proof, Mapping):
            return await self._factors.prove(person, proof, client=client, challenge=challenge)
        # Not confirmed yet: a code of the pending enrollment is enough, since it does not protect anything yet.
        if normalize_totp(proof) is not None:
            verdict = await self._factors.verify_totp(person, proof, client=client, pending=True)
        else:
            verdict = await self._factors.verify_backup_code(person, proof, client=client)
        return verdict if verdict == "accepted" else None

    async def _drift(self, person: Person, code: object) -> int | None:
        """The drift of the phone's clock in seconds. Only for a pending enrollment, which protects nothing yet."""
        normalized = normalize_totp(code)
        if normalized is None:
            return None
        for totp in await self._store.list_totp(person.account_id):
            if not totp.active:
                now = self._clock.timestamp()
                match = match_totp(self._factors.unseal(totp), normalized, now=now, last_step=totp.last_step)
                return None if match.drift is None else match.drift * STEP_SECONDS
        return None

    async def _notify(self, person: Person, kind: str, sentence: str) -> None:
        if self._mailer is not None and person.known:
            body = f"{sentence}\n\nIf this was not you, change your password and contact us."
            await self._mailer.post(
                person.account.email, "The security settings of your account have changed", body, kind=kind
            )
