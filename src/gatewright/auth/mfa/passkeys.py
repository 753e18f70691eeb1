"""Passkeys (WebAuthn Level 3): registration, sign-in with user verification, and clone detection.

A passkey with user verification is two factors in one: the device, and the finger or PIN that unlocks it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from gatewright import event_kinds
from gatewright.auth.account_directory import Person
from gatewright.auth.mfa.challenges import Challenges
from gatewright.auth.mfa.relying_party import RelyingParty, decoded
from gatewright.auth.records import ClientInfo, PasskeyInfo
from gatewright.auth.root_secret import KeyedHash, bounded_text
from gatewright.clock import Clock, SystemClock
from gatewright.errors import InvalidCredentialsError, ValidationError
from gatewright.events import EventSink, Severity, emitter
from gatewright.records import Record
from gatewright.storage.credentials import FactorStore, StoredPasskey

T = TypeVar("T")

LIFETIME = timedelta(minutes=5)
MAX_PASSKEYS = 20
MAX_CREDENTIAL = 65_536
"""Bytes of a credential or assertion as JSON."""

_REGISTER = "passkey-registration"
_LOGIN = "passkey-login"


class PasskeyChallenge(Record, frozen=True, kw_only=True):
    """A WebAuthn challenge. Pass ``options`` to ``navigator.credentials`` in the browser."""

    challenge_id: str
    options: dict[str, Any]


class Passkeys:
    """Registers passkeys and verifies their signatures."""

    def __init__(
        self,
        store: FactorStore,
        challenges: Challenges,
        keyed: KeyedHash,
        party: RelyingParty,
        *,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._challenges = challenges
        self._keyed = keyed
        self._party = party
        self._clock = clock or SystemClock()
        self._emit = emitter(sink, self._clock)

    # --- registration -------------------------------------------------------------------------------------------

    async def begin_registration(self, person: Person) -> PasskeyChallenge:
        """The options for ``navigator.credentials.create``.

        Raises:
            ValidationError: the account has too many passkeys (code ``TOO_MANY_PASSKEYS``).
        """
        existing = await self._store.list_passkeys(person.account_id)
        if len(existing) >= MAX_PASSKEYS:
            raise ValidationError(
                "This account has the maximum number of passkeys. Remove one first.", code="TOO_MANY_PASSKEYS"
            )
        challenge_id = await self._challenges.create(
            _REGISTER, person.account_id, lifetime=LIFETIME, data={"manufacturer_id": person.manufacturer_id}
        )
        challenge = self.challenge_of(challenge_id)
        options = await _in_thread(lambda: self._creation_options(person, challenge, existing))
        return PasskeyChallenge(challenge_id=challenge_id, options=options)

    async def finish_registration(
        self,
        challenge_id: object,
        credential: Mapping[str, Any],
        *,
        name: str = "passkey",
        account_id: str | None = None,
    ) -> PasskeyInfo:
        """Store the new passkey for the account that began the registration.

        Args:
            account_id: the account that finishes the registration. It must be the one that began it.

        Raises:
            InvalidCredentialsError: challenge, origin, user verification or signature is invalid, or the passkey is
                already registered (code ``INVALID_PASSKEY``).
        """
        secret = await self._challenges.take(_REGISTER, challenge_id)
        if secret is None or account_id not in (None, secret.subject):
            raise _invalid()
        challenge = self.challenge_of(str(challenge_id))
        text, origins = _bounded(credential), self._party.origins_for(credential)
        verified = await _in_thread(lambda: self._verify_registration(text, challenge, origins))
        if verified is None:
            raise _invalid()
        passkey = StoredPasskey(
            credential_id=verified.credential_id.hex(),
            account_id=secret.subject,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            name=bounded_text(name, 100).strip() or "passkey",
            device_type=verified.credential_device_type.value,
            backed_up=verified.credential_backed_up,
            created_at=self._clock.now(),
        )
        if not await self._store.add_passkey(passkey):
            raise _invalid()
        self._emit(
            event_kinds.AUTH_PASSKEY_REGISTERED,
            Severity.NOTICE,
            **_event_fields(passkey, secret.data.get("manufacturer_id")),
        )
        return describe_passkey(passkey)

    async def listed(self, person: Person) -> list[PasskeyInfo]:
        """The person's passkeys, oldest first."""
        return [describe_passkey(passkey) for passkey in await self._store.list_passkeys(person.account_id)]

    async def remove(self, person: Person, passkey_id: str) -> bool:
        """Remove a passkey. False if the person has no passkey with this id."""
        passkey = await self._store.get_passkey(bounded_text(passkey_id, 4_096))
        if passkey is None or not await self._store.delete_passkey(person.account_id, passkey_id):
            return False
        self._emit(event_kinds.AUTH_PASSKEY_REMOVED, Severity.NOTICE, **_event_fields(passkey, person.manufacturer_id))
        return True

    # --- sign-in ------------------------------------------------------------------------------------------------

    async def begin_login(self, subject: str, client: ClientInfo | None) -> PasskeyChallenge:
        """The options for ``navigator.credentials.get``. They list no passkeys, and so reveal no accounts."""
        challenge_id = await self._challenges.create(_LOGIN, subject, lifetime=LIFETIME, client=client)
        challenge = self.challenge_of(challenge_id)
        return PasskeyChallenge(
            challenge_id=challenge_id, options=await _in_thread(lambda: self._request_options(challenge, []))
        )

    async def options_for(self, account_id: str, challenge_id: str) -> dict[str, Any]:
        """The options for answering the challenge of a sign-in with one of the account's passkeys."""
        passkeys = await self._store.list_passkeys(account_id)
        challenge = self.challenge_of(challenge_id)
        return await _in_thread(lambda: self._request_options(challenge, passkeys))

    async def identify(
        self, challenge_id: object, assertion: Mapping[str, Any], client: ClientInfo | None
    ) -> tuple[str, str] | None:
        """Use up a challenge of :meth:`begin_login`, and verify the response to it.

        Returns:
            The account of the passkey, and the subject of the challenge. None if the response is invalid.
        """
        secret = await self._challenges.take_for(_LOGIN, challenge_id, client)
        credential_id = _credential_id(assertion)
        passkey = await self._store.get_passkey(credential_id) if credential_id else None
        if secret is None or passkey is None:
            return None
        if not await self.check(passkey.account_id, assertion, self.challenge_of(str(challenge_id))):
            return None
        return passkey.account_id, secret.subject

    async def use_challenge(self, challenge_id: object) -> bytes | None:
        """Use up a challenge of :meth:`begin_login`. Returns the bytes to be signed; None if it is invalid."""
        secret = await self._challenges.take(_LOGIN, challenge_id)
        return None if secret is None else self.challenge_of(str(challenge_id))

    async def check(self, account_id: str, assertion: Mapping[str, Any], challenge: bytes) -> bool:
        """Whether a passkey of the account signed the challenge with user verification, and is not a clone."""
        credential_id = _credential_id(assertion)
        passkey = await self._store.get_passkey(credential_id) if credential_id else None
        if passkey is None or passkey.account_id != account_id:
            return False
        found = passkey
        text, origins = _bounded(assertion), self._party.origins_for(assertion)
        if not self._is_handle_of(account_id, assertion):
            return False
        count = await _in_thread(lambda: self._verify_assertion(text, challenge, origins, found))
        if count is None:
            return False
        if not await self._store.advance_passkey(passkey.credential_id, count, now=self._clock.now()):
            self._emit(event_kinds.AUTH_PASSKEY_CLONED, Severity.HIGH, **_event_fields(passkey), sign_count=count)
            return False
        self._emit(event_kinds.AUTH_PASSKEY_USED, Severity.INFO, **_event_fields(passkey))
        return True

    def _is_handle_of(self, account_id: str, assertion: Mapping[str, Any]) -> bool:
        """Whether the user handle, if the authenticator sent one, is the account's (WebAuthn L3 §7.2, step 6)."""
        response = assertion.get("response")
        handle = response.get("userHandle") if isinstance(response, Mapping) else None
        return handle is None or decoded(handle) == self._keyed.of("webauthn-user", account_id)

    def challenge_of(self, challenge_id: str) -> bytes:
        """The bytes to be signed for a challenge. They are derived from its id, so they are not stored."""
        return bytes.fromhex(self._keyed.of("webauthn-challenge", challenge_id))

    # --- the webauthn library, imported only where it is used ---------------------------------------------------

    def _creation_options(self, person: Person, challenge: bytes, existing: Sequence[StoredPasskey]) -> dict[str, Any]:
        import webauthn
        from webauthn.helpers import structs

        options = webauthn.generate_registration_options(
            rp_id=self._party.rp_id,
            rp_name=self._party.name,
            user_name=person.account.email,
            user_id=bytes.fromhex(self._keyed.of("webauthn-user", person.account_id)),
            user_display_name=person.manufacturer.company_name,
            challenge=challenge,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[
                structs.PublicKeyCredentialDescriptor(id=bytes.fromhex(p.credential_id)) for p in existing
            ],
        )
        return dict(json.loads(webauthn.options_to_json(options)))

    def _request_options(self, challenge: bytes, passkeys: Sequence[StoredPasskey]) -> dict[str, Any]:
        import webauthn
        from webauthn.helpers import structs

        options = webauthn.generate_authentication_options(
            rp_id=self._party.rp_id,
            challenge=challenge,
            allow_credentials=[
                structs.PublicKeyCredentialDescriptor(id=bytes.fromhex(p.credential_id)) for p in passkeys
            ],
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return dict(json.loads(webauthn.options_to_json(options)))

    def _verify_registration(self, credential: str, challenge: bytes, origins: list[str]) -> Any:
        import webauthn

        return _or_none(
            lambda: webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._party.rp_id,
                expected_origin=origins,
                require_user_verification=True,
            )
        )

    def _verify_assertion(
        self, assertion: str, challenge: bytes, origins: list[str], passkey: StoredPasskey
    ) -> int | None:
        """The new signature counter, or None. The store compares it, so that two uses cannot both succeed."""
        import webauthn

        verified = _or_none(
            lambda: webauthn.verify_authentication_response(
                credential=assertion,
                expected_challenge=challenge,
                expected_rp_id=self._party.rp_id,
                expected_origin=origins,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,
                require_user_verification=True,
            )
        )
        return None if verified is None else verified.new_sign_count


def _event_fields(passkey: StoredPasskey, manufacturer_id: str | None = None) -> dict[str, str | None]:
    return {
        "manufacturer_id": manufacturer_id,
        "account_id": passkey.account_id,
        "passkey_id": passkey.credential_id,
    }


def describe_passkey(passkey: StoredPasskey) -> PasskeyInfo:
    """The public description of a passkey, for its owner."""
    return PasskeyInfo(
        passkey_id=passkey.credential_id,
        account_id=passkey.account_id,
        name=passkey.name,
        created_at=passkey.created_at,
        last_used_at=passkey.last_used_at,
        backed_up=passkey.backed_up,
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """Run in a thread: the first call imports the library, and every call parses CBOR and verifies signatures."""
    return await asyncio.to_thread(work)


def _or_none(verify: Callable[[], T]) -> T | None:
    """The result of the library, or None if it (or a parser that it uses) rejects the untrusted input."""
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        return verify()
    except (WebAuthnException, ValueError, TypeError, KeyError, IndexError, OverflowError):
        return None


def _bounded(value: Mapping[str, Any]) -> str:
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        raise _invalid() from None
    if len(text) > MAX_CREDENTIAL:
        raise _invalid()
    return text.decode()


def _credential_id(assertion: Mapping[str, Any]) -> str | None:
    return decoded(assertion.get("id")) if isinstance(assertion, Mapping) else None


def _invalid() -> InvalidCredentialsError:
    return InvalidCredentialsError(
        "The passkey could not be verified.",
        code="INVALID_PASSKEY",
        recommended_action="Try again, or use another way to sign in.",
    )
