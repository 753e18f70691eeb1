"""What the tests of sign-in begin with: a manager with cheap hashes, a clock manually, and a mailbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyotp

from gatewright.auth import (
    AccessOptions,
    Argon2Parameters,
    AuthDependencies,
    AuthOptions,
    ManufacturerAuthManager,
    MFAEnrolment,
)
from gatewright.controls import Controls
from gatewright.notify import MemoryNotifier
from gatewright.testing import ListSink, ManualClock
from tests.auth.identity import START

CHEAP = Argon2Parameters(time_cost=1, memory_kib=8, parallelism=1)
PASSWORD = "Xylophone-river-42"
EMAIL = "owner@acme.example"
OWNER: dict[str, Any] = {
    "email": EMAIL,
    "password": PASSWORD,
    "company_name": "Acme Tools",
    "manufacturer_id": "mfr_acme",
    "tier": "professional",
}


@dataclass
class World:
    """A manager and all that is around it."""

    auth: ManufacturerAuthManager
    clock: ManualClock
    sink: ListSink
    mailbox: MemoryNotifier
    controls: Controls
    counter: int = field(default=0)

    def code(self, secret: str, *, steps: int = 0) -> str:
        """The app's code now, or so many steps later."""
        return pyotp.TOTP(secret).at(int(self.clock.timestamp()) + 30 * steps)

    async def enrolled(self, manufacturer_id: str = "mfr_acme") -> MFAEnrolment:
        """MFA, turned on; the clock has moved on to a step whose code is unused."""
        enrolment = await self.auth.setup_mfa(manufacturer_id)
        await self.auth.confirm_mfa(manufacturer_id, self.code(enrolment.secret))
        self.clock.advance(30)
        return enrolment


@asynccontextmanager
async def world(
    *,
    register: bool = True,
    options: AccessOptions | None = None,
    partners: dict[str, Any] | None = None,
    **kwargs: Any,
) -> AsyncIterator[World]:
    """A manager, open; with Acme in it unless said otherwise."""
    clock, sink, mailbox = ManualClock(START), ListSink(), MemoryNotifier()
    controls = Controls(clock=clock)
    auth = ManufacturerAuthManager(
        sink=sink,
        clock=clock,
        options=AuthOptions(access=options or AccessOptions(argon2=CHEAP)),
        dependencies=AuthDependencies(**{"notifier": mailbox, "controls": controls, **(partners or {})}),
        **kwargs,
    )
    async with auth:
        if register:
            await auth.register_manufacturer(OWNER)
        yield World(auth, clock, sink, mailbox, controls)
