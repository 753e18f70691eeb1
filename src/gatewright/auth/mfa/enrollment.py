"""Enrollment, renewal and removal of second factors, without a way around them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
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
from gatewright.auth.mfa.verifier import SecondFactors, hash_code, new_backup_codes
from gatewright.auth.records import ClientInfo, MFAEnrolment
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.sessions.issuer import SessionTerminator
from gatewright.clock import Clock, SystemClock
from gatewright.errors import AuthorizationError, InvalidCredentialsError
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.storage.credentials import FactorStore, StoredTotp


class Enrollment:
    """Second factors come, change and go.

    Args:
        issuer: the name that authenticator apps show.
        sessions: ended when staff reset the factors of an account.
        outbox: tells the owner of changes.
    """

    def __init__(
        self,
        store: FactorStore,
        factors: SecondFactors,
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
        self._sink = sink or NullSink()
        self._clock = clock or SystemClock()

    async def begin(self, person: Person) -> MFAEnrolment:
        """A new secret with backup codes. One that is active stays so until the new one is confirmed."""
        secret, codes, enrolment_id = new_totp_secret(), new_backup_codes(), secrets.token_hex(16)
        totp = StoredTotp(
            enrolment_id=enrolment_id,
            account_id=person.account_id,
            secret=self._factors.seal(person.account_id, enrolment_id, secret),
            created_at=self._clock.now(),
        )
        await self._store.put_totp(totp, [hash_code(self._keyed, person.account_id, code) for code in codes])
        self._emit(event_kinds.AUTH_MFA_ENROLMENT_STARTED, Severity.INFO, person)
        uri = provisioning_uri(secret, account=person.account.email, issuer=self._issuer)
        return MFAEnrolment(secret=secret, provisioning_uri=uri, qr_code=qr_code(uri), backup_codes=codes)

    async def confirm(self, person: Person, code: object, *, client: ClientInfo | None = None) -> None:
        """Turn MFA on with a code of the app.

        Raises:
            InvalidCredentialsError: the code is wrong (code ``INVALID_MFA_CODE``); where the phone's clock is
                wrong, ``context`` has ``drift_seconds`` and the message says so.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        verdict = await self._factors.verify_totp(person, code, client=client, waiting=True)
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
            "The code is invalid.", code="INVALID_MFA_CODE", recommended_action="Enter the current code of the app."
        )

    async def tell_of_passkey(self, person: Person) -> None:
        """Mail the owner that a passkey was added: it signs in by itself.

        Its name is omitted: the person who added it chose it.
        """
        await self._notify(person, "passkey_added", "A passkey was added to your account.")

    async def renew_backup_codes(self, person: Person) -> list[str]:
        """Ten new codes; the old ones die."""
        codes = new_backup_codes()
        await self._store.replace_backup_codes(
            person.account_id, [hash_code(self._keyed, person.account_id, code) for code in codes]
        )
        self._emit(event_kinds.AUTH_BACKUP_CODES_GENERATED, Severity.NOTICE, person)
        return codes

    async def disable(
        self,
        person: Person,
        proof: object,
        *,
        client: ClientInfo | None = None,
        challenge: bytes | None = None,
    ) -> None:
        """Remove TOTP and backup codes, with one of the factors as proof.

        Raises:
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``).
            AuthorizationError: policy asks this account for a second factor and it would have none left (code
                ``MFA_REQUIRED_BY_POLICY``).
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        if self._factors.demanded(person.manufacturer_id) and not await self._store.list_passkeys(person.account_id):
            raise AuthorizationError(
                "A second factor is required. Enroll another one before you remove this one.",
                code="MFA_REQUIRED_BY_POLICY",
                recommended_action="Set up a new authenticator app, which replaces the old one.",
            )
        if await self._prove(person, proof, client, challenge) is None:
            raise InvalidCredentialsError("The proof is invalid.", code="INVALID_MFA_CODE")
        await self._store.delete_factors(person.account_id, passkeys=False)
        await self._devices.revoke_all(person)
        self._emit(event_kinds.AUTH_MFA_DISABLED, Severity.WARNING, person, client)
        await self._notify(person, "mfa_disabled", "Two-factor authentication was turned off for your account.")

    async def reset_by_staff(self, person: Person, *, actor: str, reason: str) -> None:
        """Remove every second factor of someone who lost them.

        Sessions and trusted devices end, and until a new factor is enrolled sign-in asks for a code by mail:
        recovery never falls below two factors.
        """
        await self._store.set_recovering(person.account_id, True)
        await self._store.delete_factors(person.account_id, passkeys=True)
        await self._devices.revoke_all(person)
        if self._sessions is not None:
            await self._sessions.end_all(
                person.manufacturer_id, reason="mfa reset by staff", account_id=person.account_id
            )
        self._emit(event_kinds.AUTH_MFA_RESET, Severity.HIGH, person, actor=actor, reason=reason)
        await self._notify(
            person,
            "mfa_reset",
            "Our staff removed the second factors of your account. Until you enroll a new one, each sign-in asks for"
            " a code that we mail to you.",
        )

    async def _prove(self, person: Person, proof: object, client: ClientInfo | None, challenge: bytes | None) -> object:
        if await self._factors.enabled(person.account_id) or isinstance(proof, Mapping):
            return await self._factors.prove(person, proof, client=client, challenge=challenge)
        # Not confirmed yet: a code of the enrollment that waits is as good, and nothing was protected by it.
        if normalize_totp(proof) is not None:
            verdict = await self._factors.verify_totp(person, proof, client=client, waiting=True)
        else:
            verdict = await self._factors.verify_backup_code(person, proof, client=client)
        return verdict if verdict == "accepted" else None

    async def _drift(self, person: Person, code: object) -> int | None:
        """By how many seconds the clock is off, for an enrollment that waits: it protects nothing yet."""
        plain = normalize_totp(code)
        if plain is None:
            return None
        for totp in await self._store.list_totp(person.account_id):
            if not totp.active:
                now = self._clock.timestamp()
                match = match_totp(self._factors.unseal(totp), plain, now=now, last_step=totp.last_step)
                return None if match.drift is None else match.drift * STEP_SECONDS
        return None

    async def _notify(self, person: Person, kind: str, sentence: str) -> None:
        if self._mailer is not None and person.known:
            body = f"{sentence}\n\nIf this was not you, change your password and contact us."
            await self._mailer.post(
                person.account.email, "The security settings of your account have changed", body, kind=kind
            )

    def _emit(
        self,
        kind: str,
        severity: Severity,
        person: Person,
        client: ClientInfo | None = None,
        *,
        actor: str | None = None,
        **data: Any,
    ) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=person.manufacturer_id,
                account_id=person.account_id,
                ip_address=client.ip_address if client else None,
                actor=actor,
                **data,
            )
        )
