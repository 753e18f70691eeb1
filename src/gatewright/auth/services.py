"""Access: the services of passwords, second factors, registration and API keys, made of one store and one root."""

from __future__ import annotations

import asyncio
import math

from gatewright.access import EVERYTHING, KEY_ACCESS
from gatewright.auth.account_directory import AccountDirectory
from gatewright.auth.api_key_rules import KeyPermissions, PermissionCeiling
from gatewright.auth.api_keys import ApiKeys
from gatewright.auth.lockout import AttemptLimiter, AttemptSubject
from gatewright.auth.mailer import Mailer
from gatewright.auth.mfa import Enrollment, SecondFactors
from gatewright.auth.mfa.challenges import Challenges
from gatewright.auth.mfa.devices import TrustedDevices
from gatewright.auth.mfa.enrollment import SessionEnder
from gatewright.auth.mfa.passkeys import Passkeys
from gatewright.auth.mfa.relying_party import RelyingParty
from gatewright.auth.mfa.vouching import FactorVouching
from gatewright.auth.options import AccessOptions
from gatewright.auth.password_reset import Passwords
from gatewright.auth.passwords import PasswordHashing, PasswordPolicy, minimum_length
from gatewright.auth.passwords.attempts import PasswordAttempts, network_policy
from gatewright.auth.passwords.policy import BreachedPasswords
from gatewright.auth.registration import BoxedProfiles, BusinessValidator, ProfileSealer, Registration, check_business
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.sign_in import Issuer, SignIn
from gatewright.auth.sign_in_limits import SignInThrottle
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
"""Seconds from a lock to the mail that tells of it."""


class AuthDependencies:
    """What other parts of a foundation do for identity; each has a default for a manager that is built alone.

    Args:
        notifier: delivers mail; None: none is sent.
        controls: the measures in force.
        throttle: counts sign-ins; the store where it is shared by processes, else memory.
        profiles: encrypts business data.
        validator: checks business data.
        ceiling: what a manufacturer may do; None: the policy's permissions of its tier.
        policy: tiers and permissions.
    """

    def __init__(
        self,
        *,
        notifier: Notifier | None = None,
        controls: Controls | None = None,
        throttle: Throttle | None = None,
        profiles: ProfileSealer | None = None,
        validator: BusinessValidator = check_business,
        ceiling: PermissionCeiling | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.notifier = notifier
        self.controls = controls
        self.throttle = throttle
        self.profiles = profiles
        self.validator = validator
        self.ceiling = ceiling
        self.policy = policy


class AuthServices:
    """The services, ready to be called. ``warm()`` after the store is open, ``close()`` at the end."""

    def __init__(
        self,
        *,
        store: Store,
        root: bytes,
        sessions: SessionEnder,
        issuer: Issuer,
        options: AccessOptions,
        partners: AuthDependencies,
        strict: bool,
        sink: EventSink,
        clock: Clock,
    ) -> None:
        self._store, self._root, self._sink, self._clock = store, root, sink, clock
        self._options, self._partners = options, partners
        self._policy = partners.policy or load_policy()
        controls = partners.controls or Controls(clock=clock)
        self.people = AccountDirectory(store, strict=strict, clock=clock)
        self.hashing = PasswordHashing(
            options.argon2, threads=options.hashing_threads, queue_limit=options.hashing_queue_limit
        )
        self.outbox = Mailer(partners.notifier, events=sink, clock=clock)
        self.challenges = Challenges(store, self._keyed("challenges"), clock=clock)
        self.devices = TrustedDevices(
            store, self._keyed("devices"), lifetime=options.trusted_device_lifetime, events=sink, clock=clock
        )
        self.throttle = SignInThrottle(
            partners.throttle or (store if store.durable else MemoryCache(clock=clock)),
            store,
            limits=options.limits,
            controls=controls,
            events=sink,
            clock=clock,
        )
        self.directions = Directions(
            api_url=options.public_url if strict else None, pages_url=options.account_pages_url
        )
        self.vouching = FactorVouching(
            store,
            self.challenges,
            self.throttle,
            self.outbox,
            self.directions,
            recent=options.recent_mfa,
            sink=sink,
            clock=clock,
        )
        self._password_doors = PasswordAttempts(
            self._doors(options.password_attempts),
            self._doors(network_policy(options.password_attempts)),
            store,
            self._keyed("doors"),
            clock=clock,
        )
        self._second_factors(controls, sessions)
        self._ways_in(issuer)
        self._accounts(sessions, strict)
        self._machines(strict)

    def warm(self) -> None:
        """Do now what would make the first sign-in slower than the next."""
        self.hashing.warm()

    async def close(self) -> None:
        """Send what waits to be sent, and stop the pools."""
        await self.outbox.drain()
        self.api_keys.close()
        self.hashing.close()
        if self._breached is not None:
            self._breached.close()

    # ------------------------------------------------------------------------------------------------------------

    def _second_factors(self, controls: Controls, sessions: SessionEnder) -> None:
        store, sink, clock, options = self._store, self._sink, self._clock, self._options
        codes = self._keyed("codes")
        self.passkeys = Passkeys(
            store,
            self.challenges,
            self._keyed("passkeys"),
            RelyingParty.at(options.public_url, name=options.mfa_issuer, rp_id=options.passkey_rp_id),
            events=sink,
            clock=clock,
        )
        self.factors = SecondFactors(
            store,
            self._box("totp"),
            codes,
            self._doors(options.code_attempts),
            self.devices,
            required=options.mfa_required,
            controls=controls,
            passkeys=self.passkeys,
            events=sink,
            clock=clock,
        )
        self.enrolment = Enrollment(
            store,
            self.factors,
            codes,
            self.devices,
            issuer=options.mfa_issuer,
            sessions=sessions,
            outbox=self.outbox,
            events=sink,
            clock=clock,
        )

    def _ways_in(self, issuer: Issuer) -> None:
        self.sign_in = SignIn(
            store=self._store,
            people=self.people,
            hashing=self.hashing,
            doors=self._password_doors,
            throttle=self.throttle,
            factors=self.factors,
            devices=self.devices,
            passkeys=self.passkeys,
            challenges=self.challenges,
            vouching=self.vouching,
            keyed=self._keyed("accounts"),
            issuer=issuer,
            outbox=self.outbox,
            events=self._sink,
            clock=self._clock,
        )

    def _accounts(self, sessions: SessionEnder, strict: bool) -> None:
        store, sink, clock, options, partners = self._store, self._sink, self._clock, self._options, self._partners
        url = options.breached_passwords_url
        self._breached = BreachedPasswords(url, events=sink, clock=clock) if url else None
        length = minimum_length(options.password_min_length, mfa_required=options.mfa_required, alone=not strict)
        policy = PasswordPolicy(self.hashing, min_length=length, breached=self._breached)
        self.passwords = Passwords(
            store=store,
            people=self.people,
            hashing=self.hashing,
            policy=policy,
            doors=self._password_doors,
            throttle=self.throttle,
            factors=self.factors,
            devices=self.devices,
            challenges=self.challenges,
            keyed=self._keyed("accounts"),
            sessions=sessions,
            outbox=self.outbox,
            directions=self.directions,
            events=sink,
            clock=clock,
        )
        self.registration = Registration(
            store=store,
            hashing=self.hashing,
            policy=policy,
            profiles=partners.profiles or BoxedProfiles(self._box("profiles")),
            challenges=self.challenges,
            throttle=self.throttle,
            keyed=self._keyed("accounts"),
            box=self._box("registrations"),
            outbox=self.outbox,
            tiers=tuple(self._policy.tiers),
            default_tier=self._policy.default_tier,
            validator=partners.validator,
            directions=self.directions,
            events=sink,
            clock=clock,
        )

    def _machines(self, strict: bool) -> None:
        store = self._store
        self.api_keys = ApiKeys(
            store,
            store,
            self._keyed("api keys"),
            store.changes,
            permissions=KeyPermissions(
                frozenset(self._policy.permissions) | KEY_ACCESS,
                self._partners.ceiling or TierCeiling(store, self._policy),
                strict=strict,
            ),
            strict=strict,
            events=self._sink,
            clock=self._clock,
        )

    def _doors(self, policy: AttemptPolicy) -> AttemptLimiter:
        return AttemptLimiter(
            self._store, policy=policy, events=self._sink, clock=self._clock, on_lock=self._tell_owner
        )

    async def _tell_owner(self, visitor: AttemptSubject, seconds: float) -> None:
        """See to a mail a little later: the attempt that locks takes as long for an address nobody has."""
        self.outbox.spawn(self._mail_owner(visitor, seconds))

    async def _mail_owner(self, visitor: AttemptSubject, seconds: float) -> None:
        """Mail the owner that somebody fails at the account; not more than a few an hour."""
        await asyncio.sleep(LOCK_MAIL_DELAY)
        if visitor.email is None or visitor.account_id is None:
            return
        if await self.throttle.admit_mail("locked", visitor.account_id):
            minutes = math.ceil(seconds / 60)
            await self.outbox.post(
                visitor.email,
                "Sign-in to your account is locked for a while",
                f"There were too many failed attempts to sign in. Sign-in from where they came opens again in {minutes}"
                " minutes. Your trusted devices, and other networks that you have signed in from before, are not"
                " affected. If it was not you, choose a new password and turn on a second factor.",
                kind="account_locked",
            )

    def _keyed(self, purpose: str) -> KeyedHash:
        return KeyedHash(derive_key(self._root, "gatewright auth", "hash", purpose))

    def _box(self, purpose: str) -> SecretBox:
        return SecretBox(derive_key(self._root, "gatewright auth", "box", purpose))


class TierCeiling:
    """The ceiling of API keys by stored tier and the maker's role; an unknown manufacturer has none."""

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
