"""The Store protocol, which combines the protocols of all domains."""

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
    """Marks a store as the demo's. A store already in use cannot be claimed."""

    async def claim_for_demo(self) -> bool:
        """Mark the store as the demo's if it is empty. Returns whether it is marked.

        Atomic: if a first tenant is created concurrently, the store is marked only if it is still empty.
        """
        ...

    async def is_demo(self) -> bool:
        """Whether the store is marked as the demo's."""
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
    """A complete store. Each atomic operation is one method, so callers never read, decide and write themselves."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None: ...
