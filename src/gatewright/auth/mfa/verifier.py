"""Verification of second factors: TOTP and backup codes, with replay protection and lockout."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
from gatewright.auth.lockout import AttemptLimiter, AttemptSubject
from gatewright.auth.mfa.devices import TrustedDevices
from gatewright.auth.mfa.passkeys import Passkeys
from gatewright.auth.mfa.totp import DASHES, match_totp, normalize_totp
from gatewright.auth.records import ClientInfo, Factor
from gatewright.auth.root_secret import KeyedHash
from gatewright.clock import Clock, SystemClock
from gatewright.encryption.secretbox import SecretBox
from gatewright.events import EventSink, NullSink, Severity, event
from gatewright.storage.attempts import OneTimeSecret, Outcome
from gatewright.storage.credentials import FactorStore, StoredTotp
from gatewright.storage.tenants import PLATFORM_TENANT, StoredAccount

CODE_COUNT = 10
CODE_LENGTH = 8
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that are not taken for one another."""

_DASHES = str.maketrans(dict.fromkeys(DASHES))


def new_code() -> str:
    """Eight letters and digits, some of each: 39 bits, guessed at most a handful of times by its door."""
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        if any(c.isdigit() for c in code) and any(c.isalpha() for c in code):
            return code


def new_backup_codes() -> list[str]:
    """Ten different codes."""
    codes: set[str] = set()
    while len(codes) < CODE_COUNT:
        codes.add(new_code())
    return sorted(codes, key=lambda _: secrets.randbits(32))


def normalise_backup_code(code: object) -> str | None:
    """The code as it was made, from what a person typed (case, spaces, hyphens); None for what is no code."""
    if not isinstance(code, str) or len(code) > 2 * CODE_LENGTH + 4:
        return None
    plain = "".join(code.split()).translate(_DASHES).upper()
    return plain if len(plain) == CODE_LENGTH and plain.isascii() and plain.isalnum() else None


def hash_code(keyed: KeyedHash, account_id: str, code: str) -> str:
    """What the store keeps of a code."""
    return keyed.of("backup-code", account_id, code)


Verdict = Literal["accepted", "replayed", "wrong"]

_OUTCOMES: dict[Verdict, Outcome] = {"accepted": "right", "replayed": "neither", "wrong": "wrong"}


class SecondFactors:
    """What an account has, and whether what is shown is it.

    Args:
        box: seals TOTP secrets.
        keyed: hashes codes.
        attempts: limits wrong codes, by any path.
        required: whether every account must show a second factor, by setting.
        controls: measures that ask for one.
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
        self.passkeys = passkeys
        self._sink = sink or NullSink()

    # --- what an account has ------------------------------------------------------------------------------------

    async def methods(self, account_id: str) -> list[str]:
        """``totp``, ``passkey`` and ``backup_code``, as far as sign-in may ask for them; empty without MFA."""
        found = []
        if any(totp.active for totp in await self._store.list_totp(account_id)):
            found.append("totp")
        if self.passkeys is not None and await self._store.list_passkeys(account_id):
            found.append("passkey")
        if found and await self._store.count_backup_codes(account_id):
            found.append("backup_code")
        return found

    async def enabled(self, account_id: str) -> bool:
        """Whether sign-in asks for a second factor because one is enrolled."""
        return bool(await self.methods(account_id))

    async def recovering(self, account_id: str) -> bool:
        """Whether staff removed the factors and none is enrolled again yet."""
        return await self._store.is_recovering(account_id)

    def demanded(self, manufacturer_id: str) -> bool:
        """Whether a setting or measure asks everyone there for one, enrolled or not; of the platform's staff always."""
        return manufacturer_id == PLATFORM_TENANT or self._required(manufacturer_id)

    async def must_show_second_factor(self, account: StoredAccount) -> bool:
        """Whether no session may be issued without one."""
        return (
            self.demanded(account.manufacturer_id)
            or await self._store.is_recovering(account.account_id)
            or await self.enabled(account.account_id)
        )

    # --- the secret of an app -----------------------------------------------------------------------------------

    def seal(self, account_id: str, enrolment_id: str, secret: str) -> str:
        """The secret as the store keeps it, bound to its row."""
        sealed = self._box.seal(secret.encode(), _bound(account_id, enrolment_id))
        return base64.b64encode(sealed).decode()

    def unseal(self, totp: StoredTotp) -> str:
        return self._box.open(base64.b64decode(totp.secret), _bound(totp.account_id, totp.enrolment_id)).decode()

    # --- checking -----------------------------------------------------------------------------------------------

    async def verify_totp(self, person: Person, code: object, *, client: ClientInfo | None, waiting: bool) -> Verdict:
        """Check a code of the app and take its step.

        Args:
            waiting: whether an enrollment that is not confirmed counts as well (and is confirmed by it).

        Raises:
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        enrolled = [totp for totp in await self._store.list_totp(person.account_id) if totp.active or waiting]
        plain = normalize_totp(code)
        if not enrolled or plain is None:
            return "wrong"
        async with self._attempts.attempt(await self._door(person, client), _visitor(person, client)) as attempt:
            verdict = await self._check_totp(person, enrolled, plain, client)
            attempt.outcome = _OUTCOMES[verdict]
        self._report(verdict, Factor.TOTP, person, client)
        return verdict

    async def verify_backup_code(self, person: Person, code: object, *, client: ClientInfo | None) -> Verdict:
        """Check a backup code and use it up; raises as :meth:`verify_totp`."""
        plain = normalise_backup_code(code)
        if plain is None:
            return "wrong"
        async with self._attempts.attempt(await self._door(person, client), _visitor(person, client)) as attempt:
            used = await self._store.use_backup_code(
                person.account_id, hash_code(self._keyed, person.account_id, plain), now=self._clock.now()
            )
            verdict: Verdict = "accepted" if used == "used" else "replayed" if used == "replayed" else "wrong"
            attempt.outcome = _OUTCOMES[verdict]
        self._report(verdict, Factor.BACKUP_CODE, person, client)
        return verdict

    async def verify_mailed_code(self, person: Person, code: object, secret: OneTimeSecret) -> Verdict:
        """Check the code that was mailed for a challenge; raises as :meth:`verify_totp`."""
        plain = normalise_backup_code(code)
        expected = secret.data.get("mailed")
        if plain is None or not isinstance(expected, str):
            return "wrong"
        async with self._attempts.attempt(f"mfa:account:{person.account_id}", _visitor(person, None)) as attempt:
            right = self._keyed.matches(expected, "mailed-code", person.account_id, plain)
            verdict: Verdict = "accepted" if right else "wrong"
            attempt.outcome = _OUTCOMES[verdict]
        self._report(verdict, Factor.EMAIL_CODE, person, None)
        return verdict

    async def verify_passkey(
        self, person: Person, assertion: Mapping[str, Any], challenge: bytes | None, *, client: ClientInfo | None
    ) -> Verdict:
        """Check a passkey that answers ``challenge``. A forged one is no guess that could come true, yet counts."""
        if self.passkeys is None or challenge is None:
            return "wrong"
        async with self._attempts.attempt(await self._door(person, client), _visitor(person, client)) as attempt:
            right = await self.passkeys.check(person.account_id, assertion, challenge)
            verdict: Verdict = "accepted" if right else "wrong"
            attempt.outcome = _OUTCOMES[verdict]
        self._report(verdict, Factor.PASSKEY, person, client)
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
        """Check a proof of any kind against the factors that are enrolled; the factor it was, or None.

        Args:
            proof: a TOTP or backup code, a mailed code, or a passkey assertion (mapping); without ``challenge``,
                ``{"challenge_id": ..., "assertion": ...}`` as ``begin_passkey_login`` made it.
            challenge: what a passkey must have signed.
            secret: the challenge of the sign-in, for a mailed code.
        """
        if isinstance(proof, Mapping):
            if challenge is None and self.passkeys is not None:
                challenge = await self.passkeys.use_challenge(proof.get("challenge_id"))
                inner = proof.get("assertion")
                proof = inner if isinstance(inner, Mapping) else {}
            right = await self.verify_passkey(person, proof, challenge, client=client)
            return Factor.PASSKEY if right == "accepted" else None
        if secret is not None and "mailed" in secret.data and not await self.enabled(person.account_id):
            right = await self.verify_mailed_code(person, proof, secret)
            return Factor.EMAIL_CODE if right == "accepted" else None
        if normalize_totp(proof) is not None:
            right = await self.verify_totp(person, proof, client=client, waiting=False)
            return Factor.TOTP if right == "accepted" else None
        if not await self.enabled(person.account_id):
            return None
        right = await self.verify_backup_code(person, proof, client=client)
        return Factor.BACKUP_CODE if right == "accepted" else None

    def hash_mailed_code(self, person: Person, code: str) -> str:
        """What a challenge keeps of a mailed code."""
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
                            event_kinds.AUTH_MFA_ENABLED, Severity.NOTICE, person, client, factor=Factor.TOTP.value
                        )
                    return "accepted"
                replayed = True
            replayed = replayed or match.replayed
            drift = match.drift if drift is None else drift
        if drift is not None and not replayed:
            self._emit(event_kinds.AUTH_MFA_CLOCK_DRIFT, Severity.NOTICE, person, client, drift_seconds=drift * 30)
        return "replayed" if replayed else "wrong"

    async def _door(self, person: Person, client: ClientInfo | None) -> str:
        """The account's door for codes, or that of its trusted device."""
        device = await self._devices.recognise(client)
        if device is not None and device.account_id == person.account_id:
            return f"mfa:device:{device.device_id}"
        return f"mfa:account:{person.account_id}"

    def _report(self, verdict: Verdict, factor: Factor, person: Person, client: ClientInfo | None) -> None:
        kind = {
            "accepted": event_kinds.AUTH_MFA_SUCCEEDED,
            "replayed": event_kinds.AUTH_MFA_REPLAYED,
            "wrong": event_kinds.AUTH_MFA_FAILED,
        }[verdict]
        severity = Severity.INFO if verdict == "accepted" else Severity.WARNING
        self._emit(kind, severity, person, client, factor=factor.value)

    def _emit(self, kind: str, severity: Severity, person: Person, client: ClientInfo | None, **data: Any) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=person.manufacturer_id,
                account_id=person.account_id,
                ip_address=client.ip_address if client else None,
                **data,
            )
        )


def _bound(account_id: str, enrolment_id: str) -> bytes:
    return f"totp\x00{account_id}\x00{enrolment_id}".encode()


def _visitor(person: Person, client: ClientInfo | None) -> AttemptSubject:
    return AttemptSubject(
        manufacturer_id=person.manufacturer_id,
        account_id=person.account_id,
        ip_address=client.ip_address if client else None,
        email=person.account.email if person.known else None,
    )
