"""The parts that sign-in, passwords and registration share."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.auth.account_directory import AccountDirectory
from gatewright.auth.mailer import Mailer
from gatewright.auth.mfa.challenges import Challenges
from gatewright.auth.mfa.devices import TrustedDevices
from gatewright.auth.mfa.verifier import FactorVerifier
from gatewright.auth.passwords import PasswordHashing
from gatewright.auth.passwords.attempts import PasswordAttempts
from gatewright.auth.root_secret import KeyedHash
from gatewright.auth.sign_in_limits import SignInThrottle
from gatewright.clock import Clock
from gatewright.events import EventSink
from gatewright.storage.protocol import Store


@dataclass(frozen=True, kw_only=True)
class AccountParts:
    """What works with accounts and their credentials.

    Attributes:
        attempts: limits wrong passwords, for known and unknown addresses the same way.
        throttle: limits attempts by account, network and device.
        keyed: hashes email addresses, so that limits do not store them.
    """

    store: Store
    directory: AccountDirectory
    hashing: PasswordHashing
    attempts: PasswordAttempts
    throttle: SignInThrottle
    factors: FactorVerifier
    devices: TrustedDevices
    challenges: Challenges
    keyed: KeyedHash
    mailer: Mailer
    sink: EventSink
    clock: Clock
