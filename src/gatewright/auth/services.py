"""The services of identity, built in order of their dependencies from one store and one root secret."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from gatewright.access import EVERYTHING, KEY_ACCESS
from gatewright.auth.account_directory import AccountDirectory
from gatewright.auth.account_parts import AccountParts
from gatewright.auth.api_key_rules import KeyPermissions, PermissionCeiling
from gatewright.auth.api_keys import ApiKeys
from gatewright.auth.client_signals import PlaceLookup
from gatewright.auth.lockout import AttemptLimiter, AttemptSubject
from gatewright.auth.mailer import Mailer
from gatewright.auth.mfa import Enrollment, FactorVerifier
from gatewright.auth.mfa.challenges import Challenges
from gatewright.auth.mfa.devices import TrustedDevices
from gatewright.auth.mfa.passkeys import Passkeys
from gatewright.auth.mfa.relying_party import RelyingParty
from gatewright.auth.mfa.vouching import FactorVouching
from gatewright.auth.options import AuthOptions
from gatewright.auth.password_reset import Passwords
from gatewright.auth.passwords import PasswordHashing, PasswordPolicy, minimum_length
from gatewright.auth.passwords.attempts import PasswordAttempts, network_policy
from gatewright.auth.passwords.policy import BreachedPasswords
from gatewright.auth.registration import BoxedProfiles, BusinessValidator, ProfileSealer, Registration, check_business
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.sessions.issuer import SessionIssuer, SessionTerminator
from gatewright.auth.sessions.refresh import RefreshService
from gatewright.auth.sessions.risk import RiskAssessor
from gatewright.auth.sessions.service import SessionService
from gatewright.auth.sign_in import SignIn
from gatewright.auth.sign_in_limits import SignInThrottle
from gatewright.auth.status_cache import SessionCache, TenantStatusCache
from gatewright.auth.tokens.external_issuers import ExternalIssuer
from gatewright.auth.tokens.revocations import Revocations
from gatewright.auth.tokens.service import TokenService, TokenTerms
from gatewright.auth.tokens.signing_keys import SigningKeyRing
from gatewright.clock import Clock
from gatewright.controls import Controls
from gatewright.encryption.secretbox import SecretBox, derive_key
from gatewright.events import EventSink
from gatewright.notify import Directions, Notifier
from gatewright.policy import Policy, load_policy
from gatewright.storage.attempts import AttemptPolicy, Throttle
from gatewright.storage.cache.memory import MemoryCache
from gatewright.storage.protocol import Store

LOCK_MAIL_DELAY = 0.05
"""Seconds from a lockout to the email about it."""


@dataclass(frozen=True, kw_only=True)
class AuthDependencies:
    """What other packages do for identity. Each has a default, for a manager built alone.

    Attributes:
        notifier: delivers email. None: no email is sent.
        controls: the measures in force.
        throttle: counts sign-ins. Defaults to the store if several processes share it, or else to memory.
        profiles: encrypts business data.
        validator: checks business data.
        ceiling: the permissions that an API key may have. Defaults to those of the tier in the policy.
        policy: tiers and permissions.
        places: offline location data of networks.
    """

    notifier: Notifier | None = None
    controls: Controls | None = None
    throttle: Throttle | None = None
    profiles: ProfileSealer | None = None
    validator: BusinessValidator = check_business
    ceiling: PermissionCeiling | None = None
    policy: Policy | None = None
    places: PlaceLookup | None = None


@dataclass(frozen=True, kw_only=True)
class AuthConfiguration:
    """The configuration of a manager.

    Attributes:
        root: the root secret.
        derived_keys: whether signing keys are derived from the root rather than stored.
        token_lifetime: default lifetime of tokens.
        strict: refuse manufacturers and accounts that are not stored.
    """

    root: bytes
    algorithm: str
    derived_keys: bool
    token_lifetime: timedelta
    strict: bool
    options: AuthOptions
    external_issuers: Sequence[ExternalIssuer] = ()


class AuthServices:
    """The services, ready to use. Call ``open()`` once the store is open, and ``close()`` at the end."""

    def __init__(
        self,
        store: Store,
        configuration: AuthConfiguration,
        dependencies: AuthDependencies,
        *,
        sink: EventSink,
        clock: Clock,
    ) -> None:
        self._store, self._configuration, self._dependencies = store, configuration, dependencies
        self._sink, self._clock = sink, clock
        self._options = configuration.options.access
        self._policy = dependencies.policy or load_policy()
        self._controls = dependencies.controls or Controls(clock=clock)
        self._build_accounts()
        self._build_factors()
        self._build_tokens()
        self._build_sessions()
        self._build_flows()

    async def open(self) -> None:
        """Open the key ring, load revocations, and warm up what would slow down the first sign-in."""
        await self.keys.open()
        await self.revocations.refresh()
        await asyncio.to_thread(self.hashing.warm)

    async def close(self) -> None:
        """Send pending email, and stop everything."""
        await self.mailer.drain()
        self.api_keys.close()
        self.hashing.close()
        if self._breached is not None:
            self._breached.close()
        await self.sessions.close()
        self._unsubscribe()
        for listener in (self.keys, self.revocations, self._session_cache, self.tenants):
            listener.close()

    # --- construction -------------------------------------------------------------------------------------------

    def _build_accounts(self) -> None:
        store, sink, clock, options = self._store, self._sink, self._clock, self._options
        strict = self._configuration.strict
        self.directory = AccountDirectory(store, strict=strict, clock=clock)
        self.hashing = PasswordHashing(
            options.argon2, threads=options.hashing_threads, queue_limit=options.hashing_queue_limit
        )
        self.mailer = Mailer(self._dependencies.notifier, sink=sink, clock=clock)
        self.challenges = Challenges(store, self._keyed("challenges"), clock=clock)
        self.throttle = SignInThrottle(
            self._dependencies.throttle or (store if store.durable else MemoryCache(clock=clock)),
            store,
            limits=options.limits,
            controls=self._controls,
            sink=sink,
            clock=clock,
        )
        self.directions = Directions(
            api_url=options.public_url if strict else None, pages_url=options.account_pages_url
        )
        self._attempts = PasswordAttempts(
            self._limiter(options.password_attempts),
            self._limiter(network_policy(options.password_attempts)),
            store,
            self._keyed("doors"),
            clock=clock,
        )

    def _build_factors(self) -> None:
        store, sink, clock, options = self._store, self._sink, self._clock, self._options
        self._codes = self._keyed("codes")
        self.devices = TrustedDevices(
            store, self._keyed("devices"), lifetime=options.trusted_device_lifetime, sink=sink, clock=clock
        )
        self.vouching = FactorVouching(
            store,
            self.challenges,
            self.throttle,
            self.mailer,
            self.directions,
            recent=options.recent_mfa,
            sink=sink,
            clock=clock,
        )
        self.passkeys = Passkeys(
            store,
            self.challenges,
            self._keyed("passkeys"),
            RelyingParty.at(options.public_url, name=options.mfa_issuer, rp_id=options.passkey_rp_id),
            sink=sink,
            clock=clock,
        )
        self.factors = FactorVerifier(
            store,
            self._box("totp"),
            self._codes,
            self._limiter(options.code_attempts),
            self.devices,
            required=lambda manufacturer_id: options.mfa_required or self._controls.mfa_required(manufacturer_id),
            passkeys=self.passkeys,
            sink=sink,
            clock=clock,
        )

    def _build_tokens(self) -> None:
        store, clock, configuration, options = (
            self._store,
            self._clock,
            self._configuration,
            self._configuration.options,
        )
        lifetime, window = configuration.token_lifetime, options.revocation_window
        self.keys = SigningKeyRing(
            store=store,
            changes=store.changes,
            root=configuration.root,
            algorithm=configuration.algorithm,
            derived=configuration.derived_keys,
            token_lifetime=max(lifetime, options.access_lifetime or lifetime),
            clock=clock,
            sink=self._sink,
            rotation=options.key_rotation,
        )
        self.revocations = Revocations(store, store.changes, clock, window=window)
        self._session_cache = SessionCache(store, store.changes, clock, window=window)
        self.tenants = TenantStatusCache(store, store.changes, clock, strict=configuration.strict, window=window)
        self.tokens = TokenService(
            ring=self.keys,
            revocations=self.revocations,
            sessions=self._session_cache,
            tenants=self.tenants,
            clock=clock,
            sink=self._sink,
            terms=TokenTerms(options.issuer, options.audience, lifetime),
            external=configuration.external_issuers,
        )
        self._unsubscribe = store.changes.subscribe("signing_keys", self.tokens.forget_all)

    def _build_sessions(self) -> None:
        store, clock, sink, options = self._store, self._clock, self._sink, self._configuration.options
        places = self._dependencies.places
        access_lifetime = options.access_lifetime or self._configuration.token_lifetime
        self.sessions = SessionService(
            store=store,
            states=self._session_cache,
            cookies=self._keyed("cookies"),
            clock=clock,
            sink=sink,
            rules=options.sessions,
            admits=self.tenants.is_active,
            places=places,
        )
        self.terminator = SessionTerminator(store, self.sessions, self.tokens)
        self.risk = RiskAssessor(
            sessions=self.sessions,
            clock=clock,
            sink=sink,
            policy=options.risk,
            places=places,
            recognize_device=self.devices.recognize,
        )
        self.refresh = RefreshService(
            store=store,
            tokens=self.tokens,
            hashes=self._keyed("refresh tokens"),
            clock=clock,
            sink=sink,
            lifetime=options.refresh_lifetime,
            access_lifetime=access_lifetime,
            grace=options.refresh_grace,
            risk=self.risk,
        )
        self.issuer = SessionIssuer(
            sessions=self.sessions,
            tokens=self.tokens,
            refresh=self.refresh,
            sink=sink,
            clock=clock,
            lifetime=options.refresh_lifetime,
            access_lifetime=access_lifetime,
            must_show_second_factor=self.factors.must_show_second_factor,
        )

    def _build_flows(self) -> None:
        store, sink, clock, options = self._store, self._sink, self._clock, self._options
        strict, url = self._configuration.strict, options.breached_passwords_url
        parts = AccountParts(
            store=store,
            directory=self.directory,
            hashing=self.hashing,
            attempts=self._attempts,
            throttle=self.throttle,
            factors=self.factors,
            devices=self.devices,
            challenges=self.challenges,
            keyed=self._keyed("accounts"),
            mailer=self.mailer,
            sink=sink,
            clock=clock,
        )
        self._breached = BreachedPasswords(url, sink=sink, clock=clock) if url else None
        length = minimum_length(options.password_min_length, mfa_required=options.mfa_required, alone=not strict)
        policy = PasswordPolicy(self.hashing, min_length=length, breached=self._breached)
        self.sign_in = SignIn(parts, passkeys=self.passkeys, vouching=self.vouching, issuer=self.issuer)
        self.passwords = Passwords(parts, policy=policy, sessions=self.terminator, directions=self.directions)
        self.registration = Registration(
            parts,
            policy=policy,
            profiles=self._dependencies.profiles or BoxedProfiles(self._box("profiles")),
            box=self._box("registrations"),
            tiers=tuple(self._policy.tiers),
            default_tier=self._policy.default_tier,
            validator=self._dependencies.validator,
            directions=self.directions,
        )
        self.enrollment = Enrollment(
            store,
            self.factors,
            self._codes,
            self.devices,
            issuer=options.mfa_issuer,
            sessions=self.terminator,
            mailer=self.mailer,
            sink=sink,
            clock=clock,
        )
        self.api_keys = ApiKeys(
            store,
            store,
            self._keyed("api keys"),
            store.changes,
            permissions=KeyPermissions(
                frozenset(self._policy.permissions) | KEY_ACCESS,
                self._dependencies.ceiling or TierCeiling(store, self._policy),
                strict=strict,
            ),
            strict=strict,
            sink=sink,
            clock=clock,
        )

    def _limiter(self, policy: AttemptPolicy) -> AttemptLimiter:
        return AttemptLimiter(
            self._store, policy=policy, sink=self._sink, clock=self._clock, on_lock=self._notify_owner
        )

    async def _notify_owner(self, subject: AttemptSubject, seconds: float) -> None:
        """Email the owner later, so that the locking attempt takes as long for an unknown address."""
        self.mailer.spawn(self._email_owner(subject, seconds))

    async def _email_owner(self, subject: AttemptSubject, seconds: float) -> None:
        """Email the owner about failed attempts, at most a few times an hour."""
        await asyncio.sleep(LOCK_MAIL_DELAY)
        if subject.email is None or subject.account_id is None:
            return
        if await self.throttle.admit_mail("locked", subject.account_id):
            minutes = math.ceil(seconds / 60)
            await self.mailer.post(
                subject.email,
                "Sign-in to your account is temporarily locked",
                f"There were too many failed attempts to sign in. Sign-in from that network is possible again in"
                f" {minutes} minutes. Your trusted devices, and networks from which you have signed in before, are not"
                " affected. If this was not you, change your password and turn on a second factor.",
                kind="account_locked",
            )

    def _keyed(self, purpose: str) -> KeyedHash:
        return KeyedHash(derive_key(self._configuration.root, "gatewright auth", "hash", purpose))

    def _box(self, purpose: str) -> SecretBox:
        return SecretBox(derive_key(self._configuration.root, "gatewright auth", "box", purpose))


class TierCeiling:
    """The permissions that API keys may have, by the stored tier and the role of their creator."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy

    async def permissions_of(self, manufacturer_id: str, account_id: str | None) -> frozenset[str] | None:
        manufacturer = await self._store.get_manufacturer(manufacturer_id)
        if manufacturer is None or manufacturer.tier not in self._policy.tiers:
            return None
        permissions = self._policy.permissions_of_tier(manufacturer.tier) | KEY_ACCESS
        account = await self._store.get_account(account_id) if account_id else None
        role = self._policy.roles.get(account.role) if account else None
        if role is None or EVERYTHING in role.permissions:
            return permissions
        return permissions & frozenset(role.permissions)
