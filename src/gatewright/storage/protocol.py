"""The Store protocol: the operations of every domain."""

from __future__ import annotations

from typing import Protocol

from gatewright.storage.attempts import AttemptStore, OneTimeStore, Throttle
from gatewright.storage.audit import AuditStore, IncidentStore, MeasureStore
from gatewright.storage.changes import Changes
from gatewright.storage.credentials import ApiKeyStore, FactorStore
from gatewright.storage.feedback import FeedbackStore
from gatewright.storage.keys import KeyStore, SigningStore
from gatewright.storage.sessions import SessionStore
from gatewright.storage.tenants import GrantStore, InvitationStore, TenantStore
from gatewright.storage.usage import AdjustmentStore, LeaseStore, UsageStore


class DemoStore(Protocol):
    """Whether the demo created a store. A store that is already in use can never be claimed."""

    async def claim_for_demo(self) -> bool:
        """Mark the store as the demo's if it is empty; whether it is the demo's now.

        Check and mark are atomic: when the demo and a first tenant race for a store, it is marked only if still empty.
        """
        ...

    async def is_demo(self) -> bool:
        """Whether the store is marked."""
        ...


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
