"""Store: all that Gatewright keeps, as narrow slices. Each package asks for the slices it uses."""

from __future__ import annotations

from typing import Protocol

from gatewright.storage.changes import Changes
from gatewright.storage.tenants import TenantStore
from gatewright.storage.throttle import Throttle


class Store(TenantStore, Throttle, Protocol):
    """A complete store. Every atomic promise is one method; nothing reads, decides and writes above it."""

    changes: Changes

    @property
    def durable(self) -> bool: ...

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None: ...
