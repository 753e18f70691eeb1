"""Store: all that Gatewright keeps, as narrow slices. Each package asks for the slices it uses."""

from __future__ import annotations

from typing import Protocol

from gatewright.storage.adjustments import AdjustmentStore
from gatewright.storage.apikeys import ApiKeyStore
from gatewright.storage.attempts import AttemptStore
from gatewright.storage.audit import AuditStore
from gatewright.storage.changes import Changes
from gatewright.storage.demo import DemoStore
from gatewright.storage.factors import FactorStore
from gatewright.storage.feedback import FeedbackStore
from gatewright.storage.grants import GrantStore
from gatewright.storage.incidents import IncidentStore
from gatewright.storage.invitations import InvitationStore
from gatewright.storage.keys import KeyStore
from gatewright.storage.leases import LeaseStore
from gatewright.storage.measures import MeasureStore
from gatewright.storage.onetime import OneTimeStore
from gatewright.storage.sessions import SessionStore
from gatewright.storage.signing import SigningStore
from gatewright.storage.tenants import TenantStore
from gatewright.storage.throttle import Throttle
from gatewright.storage.usage import UsageStore


class Store(
    AuditStore,
    IncidentStore,
    MeasureStore,
    TenantStore,
    Throttle,
    SessionStore,
    SigningStore,
    ApiKeyStore,
    AttemptStore,
    FactorStore,
    FeedbackStore,
    KeyStore,
    OneTimeStore,
    GrantStore,
    AdjustmentStore,
    InvitationStore,
    UsageStore,
    LeaseStore,
    DemoStore,
    Protocol,
):
    """A complete store. Every atomic promise is one method; nothing reads, decides and writes above it."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None: ...
