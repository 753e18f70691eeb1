"""ManufacturerAuthManager: the public face of identity."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from gatewright.auth.account_directory import CallerContext, Person
from gatewright.auth.api_keys import OVERLAP, ApiKeyIdentity
from gatewright.auth.client_signals import client_info, read_agent
from gatewright.auth.mfa.passkeys import PasskeyChallenge
from gatewright.auth.options import AuthOptions
from gatewright.auth.records import (
    ApiKeyInfo,
    AuthResult,
    ClientInfo,
    ManufacturerAccount,
    ManufacturerSession,
    MFAEnrolment,
    PasskeyInfo,
    SessionRisk,
    TrustedDevice,
)
from gatewright.auth.root_secret import root_bytes
from gatewright.auth.services import AuthConfiguration, AuthDependencies, AuthServices
from gatewright.auth.sessions.refresh import is_refresh_token
from gatewright.auth.sessions.service import NewSession, refuse_ended
from gatewright.auth.tokens.claims import read, subject_claims, text
from gatewright.auth.tokens.external_issuers import ExternalIssuer
from gatewright.clock import Clock, SystemClock
from gatewright.errors import (
    ConfigurationError,
    FieldError,
    InvalidCredentialsError,
    MFARequiredError,
    StorageError,
    ValidationError,
)
from gatewright.events import EventSink, NullSink
from gatewright.notify import Notifier
from gatewright.performance import performance_monitor
from gatewright.storage.protocol import Store
from gatewright.storage.sqlite.store import SqliteStore

MAINTENANCE_INTERVAL = 300.0


class ManufacturerAuthManager:
    """Tokens, sessions, sign-in, second factors and API keys of manufacturers.

    Built alone, it uses a private store in memory and a key made for the process, and accepts unknown manufacturers.
    Call ``initialize()`` first and ``close()`` last, or use ``async with``.

    Calls about one person take ``account_id``, or a context that has one in place of ``manufacturer_id``. A foundation
    refuses a call without (``ACCOUNT_ID_REQUIRED``); a manager built alone defaults to the owner of the manufacturer.

    Args:
        secret_key: the root secret of tokens, codes and cookies: 32 bytes (raw, hex or base64), or other text, which
            is stretched. Tokens survive a restart with the same secret.
        algorithm: HS256, ES256, EdDSA or RS256.
        token_expiry_hours: default lifetime of ``generate_manufacturer_token``, above 0.
        store: state. Opened by ``initialize()``, closed by its owner.
        sink: receives events.
        clock: the source of time.
        options: issuer, lifetimes, grace period, risk.
        strict_tenants: refuse unknown manufacturers, as a foundation does.
        notifier: delivers email. None: no email is sent.
        dependencies: what a foundation provides, including the notifier.
        external_issuers: other issuers whose tokens are accepted.

    Raises:
        ConfigurationError: an argument is invalid, or a durable store has no secret key.
    """

    def __init__(
        self,
        secret_key: str | bytes | None = None,
        algorithm: str = "HS256",
        token_expiry_hours: float = 24,
        *,
        store: Store | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
        options: AuthOptions | None = None,
        strict_tenants: bool = False,
        notifier: Notifier | None = None,
        dependencies: AuthDependencies | None = None,
        external_issuers: Sequence[ExternalIssuer] = (),
    ) -> None:
        if not 0 < token_expiry_hours <= 24 * 366:
            raise ConfigurationError(
                f"token_expiry_hours={token_expiry_hours}: must be above 0 and at most 8784; 24 is the default."
            )
        if store is not None and store.durable and secret_key is None:
            raise ConfigurationError(
                "secret_key is missing: a durable store requires a permanent key; generate one with"
                " `openssl rand -hex 32`."
            )
        self._own_store = store is None
        self.store: Store = store if store is not None else SqliteStore()
        self.options = options or AuthOptions()
        configuration = AuthConfiguration(
            root=secrets.token_bytes(32) if secret_key is None else root_bytes(secret_key),
            algorithm=algorithm,
            derived_keys=secret_key is not None and not self.store.durable,
            token_lifetime=timedelta(hours=token_expiry_hours),
            strict=strict_tenants,
            options=self.options,
            external_issuers=external_issuers,
        )
        self.services = AuthServices(
            self.store,
            configuration,
            dependencies or AuthDependencies(notifier=notifier),
            sink=sink or NullSink(),
            clock=clock or SystemClock(),
        )
        self.keys = self.services.keys
        self.tokens = self.services.tokens
        self.sessions = self.services.sessions
        self.tenants = self.services.tenants
        self._maintenance: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return "ManufacturerAuthManager()"

    # --- lifecycle ----------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open the store and the signing keys. Calling twice is harmless.

        Raises:
            KeyUnavailableError: the signing keys in the store were sealed under another secret key.
            StorageError: the store cannot be opened.
        """
        if self._closed:
            raise ConfigurationError("This manager was closed. Create a new one.", code="MANAGER_CLOSED")
        if self._maintenance is not None:
            return
        await self.store.initialize()
        try:
            await self.services.open()
        except BaseException:
            if self._own_store:
                await self.store.close()
            raise
        await asyncio.to_thread(read_agent, "")  # the first use of the user-agent parser loads its data
        self._maintenance = asyncio.get_running_loop().create_task(self._maintain())

    async def close(self) -> None:
        """Stop background work, and close a private store. A closed manager cannot be opened again."""
        if self._maintenance is None:
            return
        self._closed = True
        self._maintenance.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._maintenance
        self._maintenance = None
        await self.services.close()
        if self._own_store:
            await self.store.close()

    async def __aenter__(self) -> ManufacturerAuthManager:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def maintain(self) -> None:
        """Run due maintenance: rotate the signing key, delete expired sessions, tokens and revocations."""
        await self.keys.rotate_if_due()
        await self.sessions.delete_expired()
        await self.services.revocations.delete_expired()
        self.tokens.sweep()

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTENANCE_INTERVAL)
            with contextlib.suppress(StorageError):  # the store is unavailable: try again next time
                await self.maintain()

    # --- registration, sign-in, passwords and API keys ---------------------------------------------------------------

    # --- registration -------------------------------------------------------------------------------------------

    async def register_manufacturer(self, data: Mapping[str, Any]) -> ManufacturerAccount:
        """Create a manufacturer and its owner account immediately.

        Args:
            data: ``email``, ``password``, ``company_name``; optionally ``manufacturer_id``, ``tier`` and business
                fields (validated, stored encrypted).

        Raises:
            ValidationError: with every field's error.
            DuplicateAccountError: the email address or the id is known.
        """
        return await self.services.registration.register(data)

    async def register_staff(self, email: str, password: str, *, role: str = "platform_admin") -> ManufacturerAccount:
        """Create an account for platform staff. For the command line, never for a public call.

        Raises:
            ValidationError: with every field's error.
            DuplicateAccountError: the email address is known.
        """
        return await self.services.registration.register_staff(email, password, role)

    async def hash_new_password(self, password: str, *, words: Sequence[str] = ()) -> str:
        """Check a password against the policy and hash it; it must not be built from ``words``.

        Raises:
            ValidationError: what is wrong with it.
        """
        return await self.services.registration.hash_password(password, words)

    async def request_registration(self, data: Mapping[str, Any], *, client: Any = None) -> None:
        """Accept a public registration. The result is the same for known and new addresses; an email has the next step.

        Raises:
            ValidationError: with every field's error.
            RateLimitExceededError: too many attempts from this network.
        """
        await self.services.registration.request(data, client=client_info(client))

    async def verify_registration(self, token: str) -> ManufacturerAccount:
        """Complete a public registration with the token from the email. The manufacturer gets the default tier.

        Raises:
            InvalidTokenError: unknown, used or expired (code ``INVALID_VERIFICATION_TOKEN``).
        """
        return await self.services.registration.verify(token)

    # --- sign-in ------------------------------------------------------------------------------------------------

    async def authenticate_manufacturer(
        self, email: str, password: str, mfa_code: str | None = None, *, client: Any = None
    ) -> AuthResult:
        """Sign in with email and password; ``status`` is ``authenticated`` or ``mfa_required``.

        Args:
            mfa_code: a TOTP or backup code, to finish in one call.
            client: a ``ClientInfo``: address, user agent, and the token of a trusted device.

        Raises:
            InvalidCredentialsError: incorrect address or password; which one is not revealed.
            RateLimitExceededError, AccountLockedError: with ``retry_after`` in seconds.
            StoreUnavailableError: too many concurrent sign-ins (code ``HASHING_BUSY``).
        """
        return await self.services.sign_in.authenticate(email, password, mfa_code, client=client_info(client))

    async def complete_mfa(
        self, challenge_id: str, code_or_assertion: Any, *, client: Any = None, remember_device: bool = False
    ) -> AuthResult:
        """Complete a sign-in with a TOTP code, a backup code, an emailed code or a passkey assertion.

        Args:
            client: must match the client that began, by network and user agent.
            remember_device: trust this device; the result has its ``device_token``.

        Raises:
            InvalidCredentialsError: codes ``INVALID_CHALLENGE``, ``INVALID_MFA_CODE``.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        return await self.services.sign_in.complete_mfa(
            challenge_id, code_or_assertion, client=client_info(client), remember_device=remember_device
        )

    async def begin_passkey_login(
        self, email: str | None = None, *, client: Any = None, challenge_id: str | None = None
    ) -> PasskeyChallenge:
        """Return the options for ``navigator.credentials.get``, the same for known and unknown addresses.

        Args:
            challenge_id: of a sign-in that waits for its second factor; the passkey then answers that one, and
                its assertion goes to :meth:`complete_mfa`.
        """
        if challenge_id is None:
            return await self.services.sign_in.begin_passkey(email, client=client_info(client))
        options = await self.services.sign_in.passkey_options(challenge_id, client=client_info(client))
        return PasskeyChallenge(challenge_id=challenge_id, options=options)

    async def finish_passkey_login(
        self, challenge_id: str, assertion: Mapping[str, Any], *, client: Any = None
    ) -> AuthResult:
        """Sign in with a passkey. Possession and user verification count as two factors.

        Raises:
            InvalidCredentialsError: the assertion is invalid (code ``INVALID_PASSKEY``).
        """
        return await self.services.sign_in.finish_passkey(challenge_id, assertion, client=client_info(client))

    # --- passwords ----------------------------------------------------------------------------------------------

    async def request_password_reset(self, email: str, *, client: Any = None) -> None:
        """Email a password reset token if the address is known. The result does not reveal whether it is."""
        await self.services.passwords.request_reset(email, client=client_info(client))

    async def reset_password(
        self, token: str, new_password: str, *, mfa_code: str | None = None, client: Any = None
    ) -> None:
        """Set a new password with the token from the email. Sessions and trusted devices end.

        Raises:
            InvalidTokenError: unknown, used or expired (code ``INVALID_RESET_TOKEN``).
            MFARequiredError: the account has a second factor and ``mfa_code`` is missing; the token stays valid.
            InvalidCredentialsError: the code is wrong (code ``INVALID_MFA_CODE``).
            ValidationError: the password breaks the policy.
        """
        await self.services.passwords.reset(token, new_password, mfa_code=mfa_code, client=client_info(client))

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
        """Replace the password. Sessions other than ``session_id``, and trusted devices, end.

        Args:
            account_id: whose; required in a foundation.

        Raises:
            InvalidCredentialsError: the current password is wrong.
            ValidationError: the new password breaks the policy, or no account is named (code ``ACCOUNT_ID_REQUIRED``).
            RateLimitExceededError, AccountLockedError: too many wrong passwords.
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        await self.services.passwords.change(
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
        """Create an API key, in ``key``, shown once: ``gw_<id>_<secret><checksum>``.

        Args:
            account_id: whose key it is; required in a foundation.

        Raises:
            InsufficientPermissionsError: a permission that the manufacturer does not have.
            ValidationError: a name, permission or time is out of bounds, or no account is named (code
                ``ACCOUNT_ID_REQUIRED``).
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.api_keys.create(person, name, permissions=permissions, expires_at=expires_at)

    async def verify_api_key(self, key: str, *, client: Any = None) -> ApiKeyIdentity:
        """Verify an API key and return its owner and the permissions that its owner still has.

        Args:
            client: where it is used, for the event of a refusal.

        Raises:
            InvalidCredentialsError: unknown, revoked or expired (code ``INVALID_API_KEY``).
        """
        return await self.services.api_keys.verify(key, client=client_info(client))

    async def list_api_keys(self, manufacturer_id: str) -> list[ApiKeyInfo]:
        """List the keys of a manufacturer, newest first, without secrets."""
        return await self.services.api_keys.listed(manufacturer_id)

    async def rotate_api_key(
        self,
        manufacturer_id: str | CallerContext,
        key_id: str,
        *,
        overlap: timedelta = OVERLAP,
        account_id: str | None = None,
    ) -> ApiKeyInfo:
        """Replace a key with a new one. The old key works for another ``overlap``.

        Args:
            account_id: who rotates it, and whose key the new one is; required in a foundation. Built alone, the new
                key defaults to the account of the old one.

        Raises:
            AuthorizationError: the manufacturer has no such active key (code ``UNKNOWN_API_KEY``).
            InsufficientPermissionsError: a colleague's key that may do more than ``account_id``.
            ValidationError: the overlap is below 0 or above 90 days, or no account is named (code
                ``ACCOUNT_ID_REQUIRED``).
        """
        if isinstance(manufacturer_id, str) and account_id is None and not self.services.directory.strict:
            return await self.services.api_keys.rotate(manufacturer_id, key_id, overlap=overlap)
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.api_keys.rotate(person.manufacturer_id, key_id, overlap=overlap, person=person)

    async def revoke_api_key(self, key_id: str, *, manufacturer_id: str | None = None) -> bool:
        """Revoke a key, in every process within a second. True if it was active."""
        return await self.services.api_keys.revoke(key_id, manufacturer_id=manufacturer_id)

    async def revoke_unfounded_api_keys(self, manufacturer_id: str, account_id: str) -> int:
        """Revoke the keys of an account that it could not create now; returns how many."""
        return await self.services.api_keys.revoke_unfounded(account_id, manufacturer_id)

    # --- sessions ----------------------------------------------------------------------------------------------------

    async def create_session(self, data: Any) -> ManufacturerSession:
        """Create a session for a manufacturer that the caller has authenticated.

        Args:
            data: a mapping or object with ``manufacturer_id``, ``company_name``, ``email``, ``tier`` and, as far
                as known, ``account_id``, ``roles``, ``ip_address`` and ``user_agent``, to which it is bound.
                Without ``account_id`` a foundation's session is no person's: it can show no second factor and
                changes no one's. Built alone, it is the owner's.

        Raises:
            ValidationError: ``manufacturer_id`` is missing, or a value does not fit.
            AuthenticationError: the manufacturer is disabled, or (in a foundation) unknown.
            AuthorizationError: in a foundation, the account is not an active one of this manufacturer.
        """
        claims = subject_claims(data)
        manufacturer_id = claims["manufacturer_id"]
        await self.tenants.require_active(manufacturer_id)
        account_id = read(data, "account_id")
        if self.services.directory.strict:
            if account_id is not None:
                account_id = (await self.services.directory.of(manufacturer_id, account_id)).account_id
        elif account_id is None:
            owner = await self.store.owner_of(manufacturer_id)
            account_id = owner.account_id if owner else None
        session = await self.sessions.create(
            NewSession(
                manufacturer_id=manufacturer_id,
                account_id=account_id,
                company_name=claims["company_name"],
                email=claims["email"],
                tier=claims["tier"],
                roles=claims["roles"],
                client=client_info({name: read(data, name) for name in ("ip_address", "user_agent")}),
            )
        )
        return self.sessions.describe(session)

    async def validate_session(self, session_id: str) -> bool:
        """Whether the session is active. Counts as a use of it."""
        return await self.sessions.validate(session_id)

    async def get_session_info(self, session_id: str) -> ManufacturerSession | None:
        """The session, active or ended (``is_active``); None if unknown."""
        return await self.sessions.info(session_id)

    async def list_sessions(self, manufacturer_id: str) -> list[ManufacturerSession]:
        """List the manufacturer's active sessions, newest first, with device, place and last use."""
        return await self.sessions.list(manufacturer_id)

    async def refresh_session(self, session_id: str) -> ManufacturerSession:
        """Extend the session, within its absolute limit. The id stays the same.

        Raises:
            AuthenticationError: it is not active (code ``SESSION_ENDED``).
        """
        return await self.sessions.refresh(session_id)

    async def rotate_session(self, session_id: str, *, new_tier: str | None = None) -> ManufacturerSession:
        """Give a session a new id, as after a change of privilege. The old id and its tokens become invalid.

        Raises:
            AuthenticationError: it is not active (code ``SESSION_ENDED``).
        """
        return await self.sessions.rotate(session_id, new_tier=getattr(new_tier, "value", new_tier))

    async def invalidate_session(self, session_id: str) -> bool:
        """End a session. Its tokens are refused in every process within a second. True if it was active."""
        return await self.sessions.end(session_id, reason="requested")

    async def invalidate_sessions(
        self, manufacturer_id: str, *, reason: str, except_session: str | None = None, account_id: str | None = None
    ) -> int:
        """End all sessions of a manufacturer, or of one account in it, but one, and revoke the tokens that hang on
        none; how many ended."""
        return await self.services.terminator.end_all(
            manufacturer_id, reason=reason, account_id=account_id, except_session=except_session
        )

    async def detect_session_hijacking(self, session_id: str, client: Any) -> bool:
        """Whether the client's network (/24, /64) or its agent's family or platform is not what the session was
        bound to. Only reports; False for a session that is not active.
        """
        session = await self.sessions.get_alive(session_id)
        seen = client_info(client)
        return session is not None and seen is not None and self.services.risk.looks_hijacked(session, seen)

    async def assess_session_risk(self, session_id: str, client: Any) -> SessionRisk:
        """Grade the risk that the session was stolen, and apply the policy for that grade: ``action`` is
        ``none``, ``note``, ``require_mfa`` (sensitive operations ask again) or ``end`` (it was ended).
        """
        session = await self.sessions.get_alive(session_id)
        if session is None:
            return SessionRisk(session_id=str(session_id)[:128], score=0.0)
        return await self.services.risk.act(session, client_info(client) or ClientInfo())

    async def cleanup_expired_sessions(self) -> int:
        """End expired sessions and delete old ones; returns how many expired."""
        return await self.sessions.delete_expired()

    async def confirm_session_mfa(self, session_id: str, proof: object, *, client: Any = None) -> None:
        """Verify a second factor in a session, which allows sensitive operations for a limited time.

        Args:
            proof: a TOTP or backup code, or a passkey assertion with its ``challenge_id``.

        Raises:
            AuthenticationError: the session is not active (code ``SESSION_ENDED``).
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``).
            RateLimitExceededError, AccountLockedError: too many wrong ones.
            MFARequiredError: the factor does not count yet (code ``FACTOR_TOO_NEW``).
            ValidationError: the session belongs to no person (code ``ACCOUNT_ID_REQUIRED``).
        """
        session = await self.sessions.get_alive(session_id)
        if session is None:
            refuse_ended()
        person = await self.services.directory.of_session(session.manufacturer_id, session.account_id)
        await self.services.vouching.require_not_held(person.account_id)
        if await self.services.factors.prove(person, proof, client=client_info(client)) is None:
            raise InvalidCredentialsError("The code is invalid.", code="INVALID_MFA_CODE")
        if not await self.sessions.note_mfa(session_id):
            refuse_ended()

    async def require_recent_mfa(self, session_id: str, *, max_age: timedelta | float | None = None) -> None:
        """Raise unless a second factor was verified in this session recently.

        Args:
            max_age: a timedelta, or seconds. Default: the installation's setting.

        Raises:
            MFARequiredError: none was, or the session is not active.
        """
        if max_age is None:
            max_age = self.options.recent_mfa
        limit = max_age if isinstance(max_age, timedelta) else timedelta(seconds=max_age)
        await self.sessions.require_recent_mfa(session_id, max_age=limit)

    # --- tokens and signing keys -------------------------------------------------------------------------------------

    @performance_monitor(max_time=0.1, name="ManufacturerAuthManager.generate_manufacturer_token")
    async def generate_manufacturer_token(self, manufacturer_data: Any, *, expires_in: timedelta | None = None) -> str:
        """Create a signed token (RFC 7519) for a manufacturer.

        Args:
            manufacturer_data: a mapping or object with ``manufacturer_id`` and, as far as known,
                ``company_name``, ``email``, ``tier``, ``roles``, ``account_id`` and ``session_id``. Without
                ``account_id`` the token is the company's as a whole: its ``sub`` is the manufacturer's id, which
                is no person's.
            expires_in: how long it is valid. Default: the manager's ``token_expiry_hours``.

        Raises:
            ValidationError: ``manufacturer_id`` is missing, or a value does not fit.
            AuthenticationError: the manufacturer is disabled, or (in a foundation) unknown.
            AuthorizationError: in a foundation, ``account_id`` is not an active account of this manufacturer.
        """
        if expires_in is not None and not isinstance(expires_in, timedelta):
            error = FieldError(
                field="expires_in", error_type="INVALID_LIFETIME", message="expires_in must be a timedelta."
            )
            raise ValidationError(error.message, errors=[error])
        if self.services.directory.strict:
            await self._require_member(manufacturer_data)
        return await self.tokens.generate(manufacturer_data, expires_in=expires_in)

    async def _require_member(self, data: Any) -> None:
        """Raise where the data names an account that is not one of the manufacturer's."""
        manufacturer_id, account_id = subject_claims(data)["manufacturer_id"], text(data, "account_id")
        await self.tenants.require_active(manufacturer_id)
        if account_id not in (None, manufacturer_id):  # its own id is the `sub` of a token without a person
            await self.services.directory.of(manufacturer_id, account_id)

    @performance_monitor(max_time=0.05, name="ManufacturerAuthManager.validate_token")
    async def validate_token(self, token: str) -> dict[str, Any]:
        """Validate a token and return its claims.

        A verified token is cached; its expiry, revocation and session are checked each time.

        Raises:
            TokenExpiredError: it was issued here and has expired; there is no leeway.
            TokenRevokedError: it was issued here and was revoked, or its session has ended.
            InvalidTokenError: it is anything else, of any type.
            StoreUnavailableError: the store must confirm that it is still valid, and does not answer.
        """
        claims = self.tokens.validate_cached(token)
        return claims if claims is not None else await self.tokens.validate(token)

    async def refresh_tokens(self, refresh_token: str, *, client: Any = None) -> AuthResult:
        """Exchange a refresh token for new tokens. Each refresh token works once (RFC 9700 §4.14).

        Within the grace (10 s) the same client (network and user agent), presenting it again, gets the same
        successor. Any other second use ends the session.

        Raises:
            RefreshTokenReuseError: it was used before.
            TokenExpiredError, TokenRevokedError, InvalidTokenError: it has expired, its session has ended, or it
                is not issued by this service.
            SessionHijackError: used from a location so unlikely that the policy ended the session.
        """
        return await self.services.refresh.rotate(refresh_token, client_info(client))

    async def revoke_token(self, token: str) -> None:
        """Revoke a token in every process within a second: an access token alone, a refresh token with its
        session (RFC 7009).

        Raises:
            InvalidTokenError: it is not issued by this service.
        """
        if not is_refresh_token(token):
            await self.tokens.revoke(token)
            return
        session_id = await self.services.refresh.session_of(token)
        if session_id is not None:
            await self.sessions.end(session_id, reason="refresh_token_revoked")

    async def rotate_signing_key(self) -> str:
        """Switch to a new signing key. Tokens of the old one verify until they expire. Returns the new ``kid``."""
        return await self.keys.rotate(reason="requested")

    def jwks(self) -> dict[str, Any]:
        """The public keys for verifying our tokens elsewhere (RFC 7517); empty with HS256."""
        return self.tokens.jwks()

    # --- second factors, trusted devices and passkeys ----------------------------------------------------------------

    async def setup_mfa(self, manufacturer_id: str | CallerContext, *, account_id: str | None = None) -> MFAEnrolment:
        """Start TOTP enrollment: a secret, its QR code and ten backup codes, shown once.

        Codes verify from now on; sign-in asks for them after :meth:`confirm_mfa`. One that is active stays so
        until then.
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.enrollment.begin(person)

    async def confirm_mfa(
        self,
        manufacturer_id: str | CallerContext,
        token: str,
        *,
        account_id: str | None = None,
        client: Any = None,
        session_id: str | None = None,
    ) -> bool:
        """Complete TOTP enrollment with a code from the app.

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
        person = await self.services.directory.of(manufacturer_id, account_id)
        async with self._first_factor(person, session_id):
            await self.services.enrollment.confirm(person, token, client=client_info(client))
        return True

    @asynccontextmanager
    async def _first_factor(self, person: Person, session_id: str | None) -> AsyncIterator[None]:
        """Around the enrollment of a factor: what a session adds that no one vouches for is held back, from before it
        is there; what someone vouches for counts, and so does the session.

        An account that has a factor shows it before it gets another. That is asked here, where the factor comes into
        being, and not only at the beginning: what a thief began before the owner had one is not finished after.
        """
        if session_id is None:
            yield
            return
        session = await self.sessions.get_alive(session_id)
        vouched = session is not None and self.services.vouching.is_vouched(session)
        if not vouched:
            if await self.services.factors.enabled(person.account_id):
                raise MFARequiredError("This account has a second factor. Verify it before you add another.")
            await self.services.vouching.hold(person.account_id)
        yield
        if vouched:
            await self.services.vouching.release(person.account_id)
            await self.sessions.note_mfa(session_id)

    async def factors_held_until(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> datetime | None:
        """When the account's second factors will count for sensitive operations; None if they already do."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.vouching.held_until(person.account_id)

    async def request_factor_confirmation(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> None:
        """Email a token that lets a new second factor count immediately.

        Raises:
            RateLimitExceededError: too many were emailed.
        """
        await self.services.vouching.request(await self.services.directory.of(manufacturer_id, account_id))

    async def confirm_factor(
        self, manufacturer_id: str | CallerContext, token: str, *, account_id: str | None = None
    ) -> None:
        """Let a new second factor count, with the token from the email.

        Raises:
            InvalidTokenError: unknown, used, expired or another account's (code ``INVALID_CONFIRMATION_TOKEN``).
        """
        await self.services.vouching.redeem(await self.services.directory.of(manufacturer_id, account_id), token)

    @performance_monitor(max_time=0.05, name="ManufacturerAuthManager.verify_mfa_token")
    async def verify_mfa_token(
        self, manufacturer_id: str | CallerContext, token: str, *, account_id: str | None = None, client: Any = None
    ) -> bool:
        """Verify a TOTP code (one step of tolerance either side, RFC 6238 §5.2). Each step is accepted once.

        Raises:
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        verdict = await self.services.factors.verify_totp(person, token, client=client_info(client), pending=True)
        return verdict == "accepted"

    async def generate_backup_codes(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> list[str]:
        """Replace the backup codes with ten new ones of eight letters and digits, shown once."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.enrollment.renew_backup_codes(person)

    @performance_monitor(max_time=0.05, name="ManufacturerAuthManager.verify_backup_code")
    async def verify_backup_code(
        self, manufacturer_id: str | CallerContext, code: str, *, account_id: str | None = None, client: Any = None
    ) -> bool:
        """Verify and consume a backup code.

        Raises:
            RateLimitExceededError, AccountLockedError: too many wrong codes.
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.factors.verify_backup_code(person, code, client=client_info(client)) == "accepted"

    async def mfa_enabled(self, manufacturer_id: str | CallerContext, *, account_id: str | None = None) -> bool:
        """Whether a second factor is enrolled, so that sign-in asks for it."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.factors.enabled(person.account_id)

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
        person = await self.services.directory.of(manufacturer_id, account_id)
        await self.services.enrollment.disable(person, proof, client=client_info(client))
        return True

    async def reset_mfa(
        self, manufacturer_id: str | CallerContext, *, actor: str, reason: str, account_id: str | None = None
    ) -> None:
        """For staff: remove the lost second factors of an account. Audited; the owner is notified.

        Sessions end. Until a new factor is enrolled, sign-in asks for an emailed code.
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        await self.services.enrollment.reset_by_staff(person, actor=actor, reason=reason)

    async def note_mfa(self, session_id: str) -> bool:
        """Record that a second factor was just verified in this session; False if it is not active."""
        return await self.sessions.note_mfa(session_id)

    async def step_up(self, session_id: str, proof: Any, *, client: Any = None) -> None:
        """Verify a second factor again within a session, for :meth:`require_recent_mfa`.

        Args:
            proof: a code of the app, a backup code, or ``{"challenge_id": ..., "assertion": ...}`` of a passkey.

        Raises:
            InvalidCredentialsError: the proof is wrong (code ``INVALID_MFA_CODE``), or the session has ended.
            RateLimitExceededError, AccountLockedError: too many wrong codes.
            MFARequiredError: the factor does not count yet (code ``FACTOR_TOO_NEW``).
            ValidationError: the session belongs to no person (code ``ACCOUNT_ID_REQUIRED``).
        """
        session = await self.sessions.get_alive(session_id)
        if session is None:
            raise InvalidCredentialsError("The session has ended.", code="SESSION_ENDED")
        person = await self.services.directory.of_session(session.manufacturer_id, session.account_id)
        await self.services.vouching.require_not_held(person.account_id)
        if await self.services.factors.prove(person, proof, client=client_info(client)) is None:
            raise InvalidCredentialsError("The code is invalid.", code="INVALID_MFA_CODE")
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
        """Trust the device of ``client``. The result has its ``device_token``, shown once."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.devices.remember(person, client_info(client), name=name)

    async def verify_device(
        self,
        manufacturer_id: str | CallerContext,
        device_token: str,
        *,
        client: Any = None,
        account_id: str | None = None,
    ) -> bool:
        """Whether the token belongs to a trusted device of this account.

        Args:
            client: who presents it. If given, it must be the same kind of browser on the same platform.
        """
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.devices.verify(person, device_token, client_info(client))

    async def list_devices(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> list[TrustedDevice]:
        """List trusted devices, newest first."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.devices.listed(person)

    async def revoke_device(
        self, manufacturer_id: str | CallerContext, device_id: str, *, account_id: str | None = None
    ) -> bool:
        """Revoke a trusted device. True if it was trusted."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.devices.revoke(person, device_id)

    # --- passkeys -----------------------------------------------------------------------------------------------

    async def begin_passkey_registration(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> PasskeyChallenge:
        """The options for ``navigator.credentials.create``."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.passkeys.begin_registration(person)

    async def finish_passkey_registration(
        self,
        challenge_id: str,
        credential: Mapping[str, Any],
        *,
        name: str = "passkey",
        account_id: str | None = None,
        session_id: str | None = None,
    ) -> PasskeyInfo:
        """Register the passkey that the browser created. An account can have several.

        Args:
            account_id: the account that began; any other is refused.
            session_id: as in :meth:`confirm_mfa`.

        Raises:
            InvalidCredentialsError: the assertion is invalid (code ``INVALID_PASSKEY``).
        """
        if session_id is None:
            await self.services.directory.finishing(account_id)
            kept = await self._finish_passkey(challenge_id, credential, name, account_id)
        else:
            session = await self.sessions.get_alive(session_id)
            if session is None:
                raise InvalidCredentialsError("The session has ended.", code="SESSION_ENDED")
            owner = await self.services.directory.of_session(session.manufacturer_id, session.account_id)
            if account_id not in (None, owner.account_id):
                raise InvalidCredentialsError("The session belongs to another account.", code="INVALID_PASSKEY")
            async with self._first_factor(owner, session_id):
                kept = await self._finish_passkey(challenge_id, credential, name, owner.account_id)
        person = await self.services.directory.by_account(kept.account_id)
        if person is not None:
            await self.services.enrollment.notify_passkey_added(person)
        return kept

    async def _finish_passkey(
        self, challenge_id: str, credential: Mapping[str, Any], name: str, account_id: str | None
    ) -> PasskeyInfo:
        return await self.services.passkeys.finish_registration(
            challenge_id, credential, name=name, account_id=account_id
        )

    async def list_passkeys(
        self, manufacturer_id: str | CallerContext, *, account_id: str | None = None
    ) -> list[PasskeyInfo]:
        """List the account's passkeys, oldest first."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.passkeys.listed(person)

    async def remove_passkey(
        self, manufacturer_id: str | CallerContext, passkey_id: str, *, account_id: str | None = None
    ) -> bool:
        """Remove a passkey. True if it existed."""
        person = await self.services.directory.of(manufacturer_id, account_id)
        return await self.services.passkeys.remove(person, passkey_id)
