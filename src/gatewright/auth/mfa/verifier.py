"""Verification of second factors: TOTP and backup codes, with replay protection and lockout."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gatewright import event_kinds
from gatewright.auth.account_directory import Person, event_fields
from gatewright.auth.lockout import AttemptLimiter, AttemptSubject
from gatewright.auth.mfa.devices import TrustedDevices
from gatewright.auth.mfa.passkeys import Passkeys
from gatewright.auth.mfa.totp import DASHES, STEP_SECONDS, match_totp, normalize_totp
from gatewright.auth.records import ClientInfo, Factor
from gatewright.auth.root_secret import KeyedHash
from gatewright.clock import Clock, SystemClock
from gatewright.encryption.secretbox import SecretBox
from gatewright.events import EventSink, Severity, emitter
from gatewright.storage.attempts import OneTimeSecret, Outcome
from gatewright.storage.credentials import FactorStore, StoredTotp
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount

CODE_COUNT = 10
"""Backup codes of an account."""

CODE_LENGTH = 8
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits without those that look the same, such as O and 0."""

_DASHES = str.maketrans(dict.fromkeys(DASHES))


def new_code() -> str:
    """A random code of eight letters and digits: 39 bits, enough because wrong guesses are limited."""
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        if any(c.isdigit() for c in code) and any(c.isalpha() for c in code):
            return code


def new_backup_codes() -> list[str]:
    """Ten distinct codes, in random order."""
    codes: set[str] = set()
    while len(codes) < CODE_COUNT:
        codes.add(new_code())
    return sorted(codes, key=lambda _: secrets.randbits(32))


def normalize_backup_code(code: object) -> str | None:
    """The code in its original form, whatever case, spaces and hyphens were typed. None if it is not a code."""
    if not isinstance(code, str) or len(code) > 2 * CODE_LENGTH + 4:
        return None
    normalized = "".join(code.split()).translate(_DASHES).upper()
    valid = len(normalized) == CODE_LENGTH and normalized.isascii() and normalized.isalnum()
    return normalized if valid else None


def hash_code(keyed: KeyedHash, account_id: str, code: str) -> str:
    """The keyed hash of a code, which the store keeps instead of the code."""
    return keyed.of("backup-code", account_id, code)


Verdict = Literal["accepted", "replayed", "wrong"]

_OUTCOMES: dict[Verdict, Outcome] = {"accepted": "right", "replayed": "neither", "wrong": "wrong"}


class FactorVerifier:
    """Lists the second factors of an account, and verifies them.

    Args:
        box: encrypts TOTP secrets.
        keyed: hashes codes.
        attempts: limits wrong codes, wherever they are entered.
        required: whether a setting or measure requires a second factor from everyone at a manufacturer.
    """

    def __init__(
        self,
        store: FactorStore,
        box: SecretBox,
        keyed: KeyedHash,
        attempts: AttemptLimiter,
        devices: TrustedDevices,
        *,
        required: Callable[[str], bool],
        passkeys: Passkeys | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._box = box
        self._keyed = keyed
        self._attempts = attempts
        self._devices = devices
        self._required = required
        self._clock = clock or SystemClock()
        self._emit = emitter(sink, self._clock)
        self._passkeys = passkeys

    # --- factors of an account ------------------------------------------------------------------------------------

    async def methods(self, account_id: str) -> list[str]:
        """The methods that sign-in may ask for: ``totp``, ``passkey`` and ``backup_code``. Empty without MFA."""
        methods = []
        if any(totp.active for totp in await self._store.list_totp(account_id)):
            methods.append("totp")
        if self._passkeys is not None and await self._store.list_passkeys(account_id):
            methods.append("passkey")
        if methods and await self._store.count_backup_codes(account_id):
            methods.append("backup_code")
        return methods

    async def enabled(self, account_id: str) -> bool:
        """Whether a second factor is enrolled, so that sign-in asks for it."""
        return bool(await self.methods(account_id))

    async def recovering(self, account_id: str) -> bool:
        """Whether staff reset the factors and no new one is enrolled yet."""
        return await self._store.is_recovering(account_id)

    def required_by_policy(self, manufacturer_id: str) -> bool:
        """Whether everyone at the manufacturer needs a second factor, enrolled or not. Platform staff always do."""
        return manufacturer_id == PLATFORM_TENANT or self._required(manufacturer_id)

    async def must_show_second_factor(self, account: StoredAccount) -> bool:
        """Whether a session requires a second factor."""
        return (
            self.required_by_policy(account.manufacturer_id)
            or await self._store.is_recovering(account.account_id)
            or await self.enabled(account.account_id)
        )

    # --- TOTP secrets ------------------------------------------------------------------------------------------

    def seal(self, account_id: str, enrolment_id: str, secret: str) -> str:
        """Encrypt a TOTP secret for the store, bound to its row."""
        sealed = self._box.seal(secret.encode(), _seal_context(account_id, enrolment_id))
        return base64.b64encode(sealed).decode()

    def unseal(self, totp: StoredTotp) -> str:
        """Decrypt a stored TOTP secret."""
        return self._box.open(base64.b64decode(totp.secret), _seal_context(totp.account_id, totp.enrolment_id)).decode()

    # --- verification -------------------------------------------------------------------------------------------

    async def verify_totp(self, person: Person, code: object, *, client: ClientInfo | None, pending: bool) -> Verdict:
        """Verify a TOTP code, which cannot be used again.

        Args:
            pending: also accept a code of an unconfirmed enrollment, which confirms it.

        Raises:
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        enrolled = [totp for totp in await self._store.list_totp(person.account_id) if totp.active or pending]
        normalized = normalize_totp(code)
        if not enrolled or normalized is None:
            return "wrong"
        async with self._attempts.attempt(await self._lockout_key(person, client), _subject(person, client)) as attempt:
            verdict = await self._check_totp(person, enrolled, normalized, client)
            attempt.outcome = _OUTCOMES[verdict]
        self._report_result(verdict, Factor.TOTP, person, client)
        return verdict

    async def verify_backup_code(self, person: Person, code: object, *, client: ClientInfo | None) -> Verdict:
        """Verify a backup code, which cannot be used again. Raises as :meth:`verify_totp`."""
        normalized = normalize_backup_code(code)
        if normalized is None:
            return "wrong"
        async with self._attempts.attempt(await self._lockout_key(person, client), _subject(person, client)) as attempt:
            used = await self._store.use_backup_code(
                person.account_id, hash_code(self._keyed, person.account_id, normalized), now=self._clock.now()
            )
            verdict: Verdict = "accepted" if used == "used" else "replayed" if used == "replayed" else "wrong"
            attempt.outcome = _OUTCOMES[verdict]
        self._report_result(verdict, Factor.BACKUP_CODE, person, client)
        return verdict

    async def verify_mailed_code(self, person: Person, code: object, secret: OneTimeSecret) -> Verdict:
        """Verify the code that was emailed for a challenge. Raises as :meth:`verify_totp`."""
        normalized = normalize_backup_code(code)
        expected = secret.data.get("mailed")
        if normalized is None or not isinstance(expected, str):
            return "wrong"
        async with self._attempts.attempt(f"mfa:account:{person.account_id}", _subject(person, None)) as attempt:
            right = self._keyed.matches(expected, "mailed-code", person.account_id, normalized)
            verdict: Verdict = "accepted" if right else "wrong"
            attempt.outcome = _OUTCOMES[verdict]
        self._report_result(verdict, Factor.EMAIL_CODE, person, None)
        return verdict

    async def verify_passkey(
        self, person: Person, assertion: Mapping[str, Any], challenge: bytes | None, *, client: ClientInfo | None
    ) -> Verdict:
        """Verify a passkey's response to ``challenge``. An invalid one counts as a failed attempt."""
        if self._passkeys is None or challenge is None:
            return "wrong"
        async with self._attempts.attempt(await self._lockout_key(person, client), _subject(person, client)) as attempt:
            right = await self._passkeys.check(person.account_id, assertion, challenge)
            verdict: Verdict = "accepted" if right else "wrong"
            attempt.outcome = _OUTCOMES[verdict]
        self._report_result(verdict, Factor.PASSKEY, person, client)
        return verdict

    async def prove(
        self,
        person: Person,
        proof: object,
        *,
        client: ClientInfo | None,
        challenge: bytes | None = None,
        secret: OneTimeSecret | None = None,
    ) -> Factor | None:
        """Verify a proof of any kind. Returns the factor that it proves, or None.

        Args:
            proof: a TOTP code, a backup code, an emailed code, or a passkey assertion (a mapping). Without
                ``challenge``, ``{"challenge_id": ..., "assertion": ...}`` with the id from ``begin_passkey_login``.
            challenge: the bytes that a passkey must have signed.
            secret: the challenge of the sign-in, for an emailed code.
        """
        if isinstance(proof, Mapping):
            if challenge is None and self._passkeys is not None:
                challenge = await self._passkeys.use_challenge(proof.get("challenge_id"))
                inner = proof.get("assertion")
                proof = inner if isinstance(inner, Mapping) else {}
            right = await self.verify_passkey(person, proof, challenge, client=client)
            return Factor.PASSKEY if right == "accepted" else None
        if secret is not None and "mailed" in secret.data and not await self.enabled(person.account_id):
            right = await self.verify_mailed_code(person, proof, secret)
            return Factor.EMAIL_CODE if right == "accepted" else None
        if normalize_totp(proof) is not None:
            right = await self.verify_totp(person, proof, client=client, pending=False)
            return Factor.TOTP if right == "accepted" else None
        if not await self.enabled(person.account_id):
            return None
        right = await self.verify_backup_code(person, proof, client=client)
        return Factor.BACKUP_CODE if right == "accepted" else None

    def hash_mailed_code(self, person: Person, code: str) -> str:
        """The keyed hash of an emailed code, which the challenge keeps instead of the code."""
        return self._keyed.of("mailed-code", person.account_id, code)

    # ------------------------------------------------------------------------------------------------------------

    async def _check_totp(
        self, person: Person, enrolled: list[StoredTotp], code: str, client: ClientInfo | None
    ) -> Verdict:
        replayed, drift = False, None
        for totp in enrolled:
            match = match_totp(self.unseal(totp), code, now=self._clock.timestamp(), last_step=totp.last_step)
            if match.step is not None:
                if await self._store.accept_totp_step(person.account_id, totp.enrolment_id, match.step):
                    if not totp.active:
                        self._emit(
                            event_kinds.AUTH_MFA_ENABLED,
                            Severity.NOTICE,
                            **event_fields(person, client),
                            factor=Factor.TOTP.value,
                        )
                    return "accepted"
                replayed = True
            replayed = replayed or match.replayed
            drift = match.drift if drift is None else drift
        if drift is not None and not replayed:
            self._emit(
                event_kinds.AUTH_MFA_CLOCK_DRIFT,
                Severity.NOTICE,
                **event_fields(person, client),
                drift_seconds=drift * STEP_SECONDS,
            )
        return "replayed" if replayed else "wrong"

    async def _lockout_key(self, person: Person, client: ClientInfo | None) -> str:
        """The lockout key for codes: that of the account, or of its trusted device."""
        device = await self._devices.recognize(client)
        if device is not None and device.account_id == person.account_id:
            return f"mfa:device:{device.device_id}"
        return f"mfa:account:{person.account_id}"

    def _report_result(self, verdict: Verdict, factor: Factor, person: Person, client: ClientInfo | None) -> None:
        kind = {
            "accepted": event_kinds.AUTH_MFA_SUCCEEDED,
            "replayed": event_kinds.AUTH_MFA_REPLAYED,
            "wrong": event_kinds.AUTH_MFA_FAILED,
        }[verdict]
        severity = Severity.INFO if verdict == "accepted" else Severity.WARNING
        self._emit(kind, severity, **event_fields(person, client), factor=factor.value)


def _seal_context(account_id: str, enrolment_id: str) -> bytes:
    return f"totp\x00{account_id}\x00{enrolment_id}".encode()


def _subject(person: Person, client: ClientInfo | None) -> AttemptSubject:
    return AttemptSubject(
        manufacturer_id=person.manufacturer_id,
        account_id=person.account_id,
        ip_address=client.ip_address if client else None,
        email=person.account.email if person.known else None,
    )
