"""Sign-in by password, second factor and passkey. Every path ends in the one session issuer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
from gatewright.auth.account_parts import AccountParts
from gatewright.auth.lockout import AttemptSubject
from gatewright.auth.mfa.passkeys import PasskeyChallenge, Passkeys
from gatewright.auth.mfa.verifier import new_code
from gatewright.auth.mfa.vouching import FactorVouching
from gatewright.auth.passwords.attempts import LockoutKeys
from gatewright.auth.passwords.hashing import MAX_PASSWORD_LENGTH
from gatewright.auth.records import AuthResult, AuthStatus, ClientInfo, Factor
from gatewright.auth.root_secret import bounded_text
from gatewright.auth.sessions.issuer import SessionIssuer
from gatewright.business import canonical_email
from gatewright.errors import (
    AccountLockedError,
    InvalidCredentialsError,
    MFARequiredError,
    RateLimitExceededError,
    StoreUnavailableError,
)
from gatewright.events import Severity, event
from gatewright.storage.attempts import OneTimeSecret
from gatewright.storage.credentials import StoredDevice
from gatewright.storage.tenants import PLATFORM_TENANT

CHALLENGE = "mfa"
CHALLENGE_LIFETIME = timedelta(minutes=10)
MAX_ADDRESS_LENGTH = 320


class SignIn:
    """The ways in. Parts are made by whoever composes the manager.

    Args:
        attempts: limits wrong passwords, for known addresses and unknown ones.
    """

    def __init__(
        self,
        parts: AccountParts,
        *,
        passkeys: Passkeys,
        vouching: FactorVouching,
        issuer: SessionIssuer,
    ) -> None:
        self._store = parts.store
        self._directory = parts.directory
        self._hashing = parts.hashing
        self._attempts = parts.attempts
        self._throttle = parts.throttle
        self._factors = parts.factors
        self._devices = parts.devices
        self._passkeys = passkeys
        self._challenges = parts.challenges
        self._vouching = vouching
        self._keyed = parts.keyed
        self._issuer = issuer
        self._mailer = parts.mailer
        self._sink = parts.sink
        self._clock = parts.clock

    async def authenticate(
        self, email: object, password: object, mfa_code: object = None, *, client: ClientInfo | None = None
    ) -> AuthResult:
        """Sign in with email and password.

        An unknown address and a wrong password take the same steps: look-ups, limits, one hash, the same counts.

        Raises:
            InvalidCredentialsError: address and password do not belong together; or the code is wrong (code
                ``INVALID_MFA_CODE``).
            RateLimitExceededError, AccountLockedError: with ``retry_after``.
            StoreUnavailableError: too many sign in at once (code ``HASHING_BUSY``).
        """
        address, given = _bounded(email, password)
        account_key = self.account_key(address)
        person = await self._directory.by_address(canonical_email(address))
        device = await self._trusted(person, client)
        await self._throttle.admit(client, device_id=device.device_id if device else None)
        keys = await self._attempts.keys_for(person, account_key, device, client)
        right = await self._check_password(person, given, account_key, keys, client)
        if person is None or not right or not person.active:
            await self._failed(person, account_key, client)
            raise InvalidCredentialsError("Incorrect email or password.")
        return await self._after_password(person, device, mfa_code, client)

    async def complete_mfa(
        self, challenge_id: object, proof: object, *, client: ClientInfo | None = None, remember_device: bool = False
    ) -> AuthResult:
        """Finish a sign-in with a second factor: a TOTP or backup code, a mailed code or a passkey assertion.

        A wrong code leaves the challenge open, a right one uses it up.

        Raises:
            InvalidCredentialsError: the challenge is unknown, used, expired or another client's (code
                ``INVALID_CHALLENGE``), or the code is wrong (code ``INVALID_MFA_CODE``).
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        secret = await self._challenges.attempt(CHALLENGE, challenge_id, client)
        person = await self._directory.by_account(secret.subject) if secret else None
        if secret is None or person is None or not person.active:
            raise _no_challenge()
        signed = self._passkeys.challenge_of(str(challenge_id))
        factor = await self._factors.prove(person, proof, client=client, challenge=signed, secret=secret)
        if factor is None:
            raise _wrong_code()
        if await self._challenges.take(CHALLENGE, challenge_id) is None:
            raise _no_challenge()
        return await self._issue(person, client, frozenset({Factor.PASSWORD, factor}), remember=remember_device)

    async def passkey_options(self, challenge_id: object, *, client: ClientInfo | None = None) -> dict[str, Any]:
        """The options by which a passkey answers a challenge of :meth:`authenticate`.

        Raises:
            InvalidCredentialsError: as :meth:`complete_mfa`.
        """
        secret: OneTimeSecret | None = await self._challenges.attempt(CHALLENGE, challenge_id, client)
        if secret is None:
            raise _no_challenge()
        return await self._passkeys.options_for(secret.subject, str(challenge_id))

    async def begin_passkey(self, email: object = None, *, client: ClientInfo | None = None) -> PasskeyChallenge:
        """Begin to sign in with a passkey alone. The answer is the same for known and unknown addresses."""
        await self._throttle.admit(client)
        address = bounded_text(email, MAX_ADDRESS_LENGTH).strip()
        subject = self.account_key(address) if address else ""
        return await self._passkeys.begin_login(subject, client)

    async def finish_passkey(
        self, challenge_id: object, assertion: Mapping[str, Any], *, client: ClientInfo | None = None
    ) -> AuthResult:
        """Finish to sign in with a passkey; it is two factors, and each challenge is good for one try.

        Raises:
            InvalidCredentialsError: challenge, client, key, signature, user verification or counter do not
                agree (code ``INVALID_PASSKEY``).
            RateLimitExceededError: too many attempts from this network.
        """
        await self._throttle.admit(client)
        found = await self._passkeys.identify(challenge_id, assertion, client)
        person = await self._directory.by_account(found[0]) if found else None
        meant = found[1] if found else ""
        if person is None or not person.active or (meant and meant != self.account_key(person.account.email)):
            await self._failed(person, self._keyed.of("account", "passkey"), client, method="passkey")
            raise InvalidCredentialsError("The passkey could not be verified.", code="INVALID_PASSKEY")
        return await self._issue(person, client, frozenset({Factor.PASSKEY}))

    def account_key(self, address: str) -> str:
        """The lockout key of an address, known or not."""
        return self._keyed.of("account", canonical_email(address))

    # ------------------------------------------------------------------------------------------------------------

    async def _trusted(self, person: Person | None, client: ClientInfo | None) -> StoredDevice | None:
        device = await self._devices.recognize(client)
        return device if device and person and device.account_id == person.account_id else None

    async def _check_password(
        self,
        person: Person | None,
        password: str,
        account_key: str,
        keys: LockoutKeys,
        client: ClientInfo | None,
    ) -> bool:
        stored = person.account.password_hash if person else None
        try:
            async with self._attempts.attempt(keys, _subject(person, client)) as attempt:
                if keys.device is None:
                    await self._throttle.admit_to_hashing(client, account_key, known=keys.trusted)
                check = await self._hashing.verify(stored, password, trusted=keys.trusted)
                attempt.outcome = "right" if check.right else "wrong"
        except (AccountLockedError, RateLimitExceededError):
            await self._throttle.notice(client, account_key)
            raise
        if person is not None and check.needs_rehash:
            await self._rehash(person, password, client, trusted=keys.trusted)
        return check.right

    async def _rehash(self, person: Person, password: str, client: ClientInfo | None, *, trusted: bool) -> None:
        try:
            new_hash = await self._hashing.hash(password, trusted=trusted)
        except StoreUnavailableError:
            return  # the password was right; the next sign-in tries again
        await self._store.update_account(person.account_id, password_hash=new_hash)
        self._emit(event_kinds.AUTH_PASSWORD_REHASHED, Severity.INFO, person, client)

    async def _failed(
        self, person: Person | None, account_key: str, client: ClientInfo | None, *, method: str = "password"
    ) -> None:
        await self._throttle.failed(client, account_key)
        self._emit(
            event_kinds.AUTH_LOGIN_FAILED, Severity.WARNING, person, client, method=method, account_key=account_key[:16]
        )

    async def _after_password(
        self, person: Person, device: StoredDevice | None, mfa_code: object, client: ClientInfo | None
    ) -> AuthResult:
        """The password was right: a session, or a challenge for the second factor."""
        methods = await self._factors.methods(person.account_id)
        must = bool(methods) or await self._factors.must_show_second_factor(person.account)
        if not must:
            return await self._issue(person, client, frozenset({Factor.PASSWORD}))
        if device is not None:
            return await self._issue(person, client, frozenset({Factor.PASSWORD, Factor.DEVICE}), device=device)
        if methods and isinstance(mfa_code, str) and mfa_code.strip():
            factor = await self._factors.prove(person, mfa_code, client=client)
            if factor is None:
                raise _wrong_code()
            return await self._issue(person, client, frozenset({Factor.PASSWORD, factor}))
        return await self._challenge(person, methods, client)

    async def _challenge(self, person: Person, methods: list[str], client: ClientInfo | None) -> AuthResult:
        data: dict[str, Any] = {}
        if not methods:
            # A second factor is demanded and none is enrolled: the mailbox that was verified replaces one.
            code = new_code()
            data["mailed"] = self._factors.hash_mailed_code(person, code)
            methods = [Factor.EMAIL_CODE.value]
            if not await self._throttle.admit_mail("code", self.account_key(person.account.email)):
                raise MFARequiredError(
                    "Too many codes were emailed for this account. Wait before requesting another.",
                    code="MFA_MAIL_LIMIT",
                )
        challenge_id = await self._challenges.create(
            CHALLENGE, person.account_id, lifetime=CHALLENGE_LIFETIME, data=data, client=client
        )
        if "mailed" in data:
            await self._mailer.post(
                person.account.email,
                "Your sign-in code",
                f"Your code is {code}. It is valid for ten minutes. If you are not signing in now, change your"
                " password, because someone else knows it.",
                kind="sign_in_code",
                data={"code": code},
            )
        self._emit(event_kinds.AUTH_MFA_CHALLENGED, Severity.INFO, person, client, methods=methods)
        return AuthResult(
            status=AuthStatus.MFA_REQUIRED.value, mfa_required=True, mfa_methods=methods, challenge_id=challenge_id
        )

    async def _issue(
        self,
        person: Person,
        client: ClientInfo | None,
        factors: frozenset[Factor],
        *,
        device: StoredDevice | None = None,
        remember: bool = False,
    ) -> AuthResult:
        now = self._clock.now()
        device_id, token = (device.device_id if device else None), None
        if device is not None:
            await self._devices.record_use(device)
        elif remember:
            remembered = await self._devices.remember(person, client)
            device_id, token = remembered.device_id, remembered.device_token
        await self._store.update_account(person.account_id, last_login_at=now)
        counts = await self._counts(person, factors - {Factor.PASSWORD, Factor.DEVICE})
        return await self._issuer.issue(
            person.account,
            person.manufacturer,
            client,
            factors=frozenset(factor.value for factor in factors),
            mfa_at=now if counts else None,
            device_id=device_id,
            device_token=token,
        )

    async def _counts(self, person: Person, second: frozenset[Factor]) -> bool:
        """Whether what was shown beside the password counts for sensitive operations.

        For the platform's staff a mailed code does not: it opens a session in which a factor can be enrolled.
        """
        if second <= {Factor.EMAIL_CODE}:
            return bool(second) and person.manufacturer_id != PLATFORM_TENANT
        return await self._vouching.held_until(person.account_id) is None

    def _emit(
        self, kind: str, severity: Severity, person: Person | None, client: ClientInfo | None, **data: Any
    ) -> None:
        self._sink.emit(
            event(
                kind,
                severity=severity,
                timestamp=self._clock.now(),
                manufacturer_id=person.manufacturer_id if person else None,
                account_id=person.account_id if person else None,
                ip_address=client.ip_address if client else None,
                **data,
            )
        )


def _bounded(email: object, password: object) -> tuple[str, str]:
    """Both as text within bounds; what is out of bounds can belong to no one, and is checked all the same."""
    return bounded_text(email, MAX_ADDRESS_LENGTH), bounded_text(password, MAX_PASSWORD_LENGTH)


def _subject(person: Person | None, client: ClientInfo | None) -> AttemptSubject:
    return AttemptSubject(
        manufacturer_id=person.manufacturer_id if person else None,
        account_id=person.account_id if person else None,
        ip_address=client.ip_address if client else None,
        email=person.account.email if person else None,
    )


def _no_challenge() -> InvalidCredentialsError:
    return InvalidCredentialsError(
        "This sign-in has expired or was already completed.",
        code="INVALID_CHALLENGE",
        recommended_action="Sign in again with email and password.",
    )


def _wrong_code() -> InvalidCredentialsError:
    return InvalidCredentialsError(
        "The code is invalid.", code="INVALID_MFA_CODE", recommended_action="Enter the current code from the app."
    )
