"""Calls about registration, sign-in, passwords and API keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gatewright.auth.account_directory import CallerContext
from gatewright.auth.api_keys import OVERLAP, ApiKeyIdentity
from gatewright.auth.client_signals import client_info
from gatewright.auth.mfa.passkeys import PasskeyChallenge
from gatewright.auth.records import ApiKeyInfo, AuthResult, ManufacturerAccount
from gatewright.auth.services import AuthServices


class SignInCalls:
    """The ways in, and what machines use."""

    access: AuthServices

    # --- registration -------------------------------------------------------------------------------------------

    async def register_manufacturer(self, data: Mapping[str, Any]) -> ManufacturerAccount:
        """Make a manufacturer with its owner account, at once.

        Args:
            data: ``email``, ``password``, ``company_name``; optionally ``manufacturer_id``, ``tier`` and business
                fields (validated, stored encrypted).

        Raises:
            ValidationError: with every field's error.
            DuplicateAccountError: the e-mail address or the id is known.
        """
        return await self.access.registration.register(data)

    async def register_staff(self, email: str, password: str, *, role: str = "platform_admin") -> ManufacturerAccount:
        """Make an account for the platform's own staff; for the command line, never for a public call.

        Raises:
            ValidationError: with every field's error.
            DuplicateAccountError: the e-mail address is known.
        """
        return await self.access.registration.register_staff(email, password, role)

    async def hash_new_password(self, password: str, *, words: Sequence[str] = ()) -> str:
        """The hash of a password that keeps the policy; ``words`` must not be what it is made of.

        Raises:
            ValidationError: what is wrong with it.
        """
        return await self.access.registration.hash_password(password, words)

    async def request_registration(self, data: Mapping[str, Any], *, client: Any = None) -> None:
        """Take a public registration. Known and new addresses are answered alike; a mail says how to go on.

        Raises:
            ValidationError: with every field's error.
            RateLimitExceededError: too many attempts from this network.
        """
        await self.access.registration.request(data, client=client_info(client))

    async def verify_registration(self, token: str) -> ManufacturerAccount:
        """Finish a public registration with the token of the mail; the manufacturer has the default tier.

        Raises:
            InvalidTokenError: unknown, used or expired (code ``INVALID_VERIFICATION_TOKEN``).
        """
        return await self.access.registration.verify(token)

    # --- sign-in ------------------------------------------------------------------------------------------------

    async def authenticate_manufacturer(
        self, email: str, password: str, mfa_code: str | None = None, *, client: Any = None
    ) -> AuthResult:
        """Sign in with e-mail and password; ``status`` is ``authenticated`` or ``mfa_required``.

        Args:
            mfa_code: a TOTP or backup code, to finish in one call.
            client: a ``ClientInfo``: address, user agent, and the token of a trusted device.

        Raises:
            InvalidCredentialsError: address and password do not belong together; which is wrong is never said.
            RateLimitExceededError, AccountLockedError: with ``retry_after`` in seconds.
            StoreUnavailableError: too many sign in at once (code ``HASHING_BUSY``).
        """
        return await self.access.sign_in.authenticate(email, password, mfa_code, client=client_info(client))

    async def complete_mfa(
        self, challenge_id: str, code_or_assertion: Any, *, client: Any = None, remember_device: bool = False
    ) -> AuthResult:
        """Finish a sign-in with a TOTP code, a backup code, a mailed code or a passkey assertion.

        Args:
            client: must be the one that began: its network and user agent are compared.
            remember_device: trust this device from now on; the result has its ``device_token``.

        Raises:
            InvalidCredentialsError: codes ``INVALID_CHALLENGE``, ``INVALID_MFA_CODE``.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        return await self.access.sign_in.complete_mfa(
            challenge_id, code_or_assertion, client=client_info(client), remember_device=remember_device
        )

    async def begin_passkey_login(
        self, email: str | None = None, *, client: Any = None, challenge_id: str | None = None
    ) -> PasskeyChallenge:
        """The options for ``navigator.credentials.get``, alike for known and unknown addresses.

        Args:
            challenge_id: of a sign-in that waits for its second factor; the passkey then answers that one, and
                its assertion goes to :meth:`complete_mfa`.
        """
        if challenge_id is None:
            return await self.access.sign_in.begin_passkey(email, client=client_info(client))
        options = await self.access.sign_in.passkey_options(challenge_id, client=client_info(client))
        return PasskeyChallenge(challenge_id=challenge_id, options=options)

    async def finish_passkey_login(
        self, challenge_id: str, assertion: Mapping[str, Any], *, client: Any = None
    ) -> AuthResult:
        """Sign in with a passkey: possession and user verification are two factors.

        Raises:
            InvalidCredentialsError: anything does not agree (code ``INVALID_PASSKEY``).
        """
        return await self.access.sign_in.finish_passkey(challenge_id, assertion, client=client_info(client))

    # --- passwords ----------------------------------------------------------------------------------------------

    async def request_password_reset(self, email: str, *, client: Any = None) -> None:
        """Mail a token for a new password, if the address is known; nothing tells whether it is."""
        await self.access.passwords.request_reset(email, client=client_info(client))

    async def reset_password(
        self, token: str, new_password: str, *, mfa_code: str | None = None, client: Any = None
    ) -> None:
        """Set a new password with the token of the mail; sessions and trusted devices end.

        Raises:
            InvalidTokenError: unknown, used or expired (code ``INVALID_RESET_TOKEN``).
            MFARequiredError: the account has a second factor and ``mfa_code`` is missing; the token stays good.
            InvalidCredentialsError: the code is wrong (code ``INVALID_MFA_CODE``).
            ValidationError: what is wrong with the password.
        """
        await self.access.passwords.reset(token, new_password, mfa_code=mfa_code, client=client_info(client))

    async def change_password(
        self,
        manufacturer_id: str | CallerContext,
        current_password: str,
        new_password: str,
        *,
        account_id: str | None = None,
        session_id: str | None = None,
        client: Any = None,
    ) -> None:
        """Replace the password; other sessions than ``session_id``, and trusted devices, end.

        Args:
            account_id: whose; required in a foundation.

        Raises:
            InvalidCredentialsError: the current password is wrong.
            ValidationError: what is wrong with the new one, or no account is named (code ``ACCOUNT_ID_REQUIRED``).
            RateLimitExceededError, AccountLockedError: too many wrong passwords.
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        await self.access.passwords.change(
            person, current_password, new_password, session_id=session_id, client=client_info(client)
        )

    # --- API keys -----------------------------------------------------------------------------------------------

    async def create_api_key(
        self,
        manufacturer_id: str | CallerContext,
        name: str,
        *,
        permissions: Iterable[Any],
        expires_at: datetime | None = None,
        account_id: str | None = None,
    ) -> ApiKeyInfo:
        """A key for a machine, in ``key``, shown once: ``gw_<id>_<secret><checksum>``.

        Args:
            account_id: whose key it is; required in a foundation.

        Raises:
            InsufficientPermissionsError: a permission that the manufacturer does not have.
            ValidationError: a name, permission or time is out of bounds, or no account is named (code
                ``ACCOUNT_ID_REQUIRED``).
        """
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.api_keys.create(person, name, permissions=permissions, expires_at=expires_at)

    async def verify_api_key(self, key: str, *, client: Any = None) -> ApiKeyIdentity:
        """Whose key it is and what it may do now: its permissions, as far as its owner still has them.

        Args:
            client: where it is used, for the event of a refusal.

        Raises:
            InvalidCredentialsError: no key of ours, revoked or expired (code ``INVALID_API_KEY``).
        """
        return await self.access.api_keys.verify(key, client=client_info(client))

    async def list_api_keys(self, manufacturer_id: str) -> list[ApiKeyInfo]:
        """All keys of a manufacturer, newest first, without secrets."""
        return await self.access.api_keys.listed(manufacturer_id)

    async def rotate_api_key(
        self,
        manufacturer_id: str | CallerContext,
        key_id: str,
        *,
        overlap: timedelta = OVERLAP,
        account_id: str | None = None,
    ) -> ApiKeyInfo:
        """A new key in place of another, which still works for ``overlap``.

        Args:
            account_id: who rotates it, and whose key the new one is; required in a foundation. Built alone, the new
                key defaults to the account of the old one.

        Raises:
            AuthorizationError: the manufacturer has no such key that can be rotated (code ``UNKNOWN_API_KEY``).
            InsufficientPermissionsError: a colleague's key that may do more than ``account_id``.
            ValidationError: the overlap is below 0 or above 90 days, or no account is named (code
                ``ACCOUNT_ID_REQUIRED``).
        """
        if isinstance(manufacturer_id, str) and account_id is None and not self.access.people.strict:
            return await self.access.api_keys.rotate(manufacturer_id, key_id, overlap=overlap)
        person = await self.access.people.of(manufacturer_id, account_id)
        return await self.access.api_keys.rotate(person.manufacturer_id, key_id, overlap=overlap, person=person)

    async def revoke_api_key(self, key_id: str, *, manufacturer_id: str | None = None) -> bool:
        """End a key, here at once and everywhere within a second; whether there was one to end."""
        return await self.access.api_keys.revoke(key_id, manufacturer_id=manufacturer_id)

    async def revoke_unfounded_api_keys(self, manufacturer_id: str, account_id: str) -> int:
        """End the keys that an account made and could not make now; how many ended."""
        return await self.access.api_keys.revoke_unfounded(account_id, manufacturer_id)
