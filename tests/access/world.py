"""A service with two companies, a platform and every kind of caller of the table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from gatewright import ManualClock, SecurityFoundation, Settings
from gatewright.notify import MemoryNotifier
from gatewright.policy import Policy, parse_policy
from gatewright.storage import PLATFORM_TENANT
from gatewright.web import create_app

PASSWORD = "gravel-otter-lantern-4471"
Headers = dict[str, str]
_UNWATCHED = {
    "audit_entries",
    "audit_nodes",
    "audit_head",
    "permission_violations",
    "permission_use",
    "changes",
    "sightings",
    "throttles",
    "doors",
    "incidents",
}
"""Tables in which a refusal leaves its trace: the audit log, incidents, counts, and what other processes hear."""


def policy() -> Policy:
    """The policy that ships, with a role of one's own."""
    from importlib import resources

    text = resources.files("gatewright").joinpath("policy.toml").read_text("utf-8")
    own = '[roles.people_reader]\npermissions = ["members:read"]\n\n'
    return parse_policy(text.replace("[roles.catalogue_editor]", own + "[roles.catalogue_editor]"))


class World:
    """The service, and what it takes to call it as someone.

    Args:
        foundation: opened, on a store in memory.
    """

    def __init__(self, foundation: SecurityFoundation, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.foundation, self.app, self.http = foundation, app, http
        self.callers: dict[str, Headers] = {"anonymous": {}}
        self.ids: dict[str, str] = {}
        self.accounts: dict[str, str] = {}
        self.sessions: dict[str, str] = {}
        self.secrets: dict[str, str] = {}

    # --- people -------------------------------------------------------------------------------------------------

    async def company(self, name: str) -> str:
        """A manufacturer on the highest tier with an owner called ``name``; its id."""
        made = await self.foundation.auth.register_manufacturer(
            {"email": f"{name}@example.com", "password": PASSWORD, "company_name": name.title(), "tier": "enterprise"}
        )
        self.accounts[name] = made.account_id
        return made.manufacturer_id

    async def person(self, name: str, manufacturer_id: str, role: str) -> str:
        """A person who was invited and joined; the account id."""
        email = f"{name}@example.com"
        members = self.foundation.rbac.members
        invitation = await members.invite(manufacturer_id, email, role, None)
        hashed = await self.foundation.auth.hash_new_password(PASSWORD)
        joined = await members.accept(str(invitation.token), password_hash=hashed)
        self.accounts[name] = joined.account_id
        return joined.account_id

    async def session(self, caller: str, manufacturer_id: str, account_id: str, *, fresh: bool = True) -> Headers:
        """Sign someone in by code, with a second factor just shown or none."""
        auth, account = self.foundation.auth, await self.foundation.store.get_account(account_id)
        assert account is not None
        session = await auth.create_session(
            {
                "manufacturer_id": manufacturer_id,
                "account_id": account_id,
                "company_name": "Company",
                "email": account.email,
                "tier": "enterprise",
                "roles": [account.role],
            }
        )
        if fresh:
            await auth.note_mfa(session.session_id)
        token = await auth.generate_manufacturer_token(
            {**session.to_dict(), "session_id": session.session_id, "account_id": account_id}
        )
        self.sessions[caller] = session.session_id
        self.callers[caller] = {"authorization": f"Bearer {token}"}
        return self.callers[caller]

    async def key(self, caller: str, manufacturer_id: str, account_id: str, *permissions: str) -> str:
        """An API key; its id."""
        made = await self.foundation.auth.create_api_key(
            manufacturer_id, "server", permissions=list(permissions), account_id=account_id
        )
        self.callers[caller] = {"x-api-key": str(made.key)}
        return made.key_id

    # --- calls --------------------------------------------------------------------------------------------------

    async def call(self, caller: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """Make a call as someone."""
        content = {} if body is None else {"json": body}
        return await self.http.request(method, path, headers=self.callers[caller], **content)

    async def state(self) -> dict[str, list[Any]]:
        """All that the store has, but for the traces that a refusal leaves."""

        def read(connection: Any) -> dict[str, list[Any]]:
            names = [r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: _rows(connection, name) for name in names if name not in _UNWATCHED}

        return await self.foundation.store.engine.read(read)  # type: ignore[attr-defined]  # the embedded store's own


def _rows(connection: Any, table: str) -> list[Any]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    kept = [c for c in columns if c not in ("last_activity", "activity_count", "last_used_at")]
    return sorted(map(repr, connection.execute(f"SELECT {', '.join(kept)} FROM {table}")))


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[World]:
    """A world with every caller of the table."""
    settings = Settings(database=":memory:", data_dir=directory, argon2_memory_kib=8, argon2_time_cost=1)
    clock = ManualClock()
    async with SecurityFoundation(settings, policy=policy(), notifier=MemoryNotifier(), clock=clock) as foundation:
        app = create_app(foundation, demo=True)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("198.51.100.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            world = World(foundation, app, http)
            await _populate(world)
            yield world


async def _populate(world: World) -> None:
    acme, other, gone = [await world.company(name) for name in ("acme", "other", "gone")]
    world.ids["manufacturer_id"] = acme
    await _staff(world)
    await _people(world, acme)
    await world.session("owner of another tenant", other, world.accounts["other"])
    await world.session("owner of a disabled tenant", gone, world.accounts["gone"])
    await _keys(world, acme)
    await _things(world, acme)
    await world.foundation.store.update_manufacturer(gone, status="disabled")
    members = world.foundation.rbac.members
    await members.change(acme, world.accounts["disabled"], None, status="disabled")
    await members.change(acme, world.accounts["demoted"], None, role="viewer")
    await members.change(PLATFORM_TENANT, world.accounts["former-admin"], None, role="platform_auditor")


async def _staff(world: World) -> None:
    first = await world.foundation.auth.register_staff("root@platform.example", PASSWORD)
    await world.session("platform_admin", PLATFORM_TENANT, first.account_id)
    for caller, name, role in (
        ("platform_admin, stale second factor", "stale-admin", "platform_admin"),
        ("platform_auditor", "auditor", "platform_auditor"),
        ("platform_support", "support", "platform_support"),
        ("demoted platform_admin", "former-admin", "platform_admin"),
    ):
        account = await world.person(name, PLATFORM_TENANT, role)
        await world.session(caller, PLATFORM_TENANT, account, fresh="stale" not in caller)


async def _people(world: World, acme: str) -> None:
    await world.session("owner", acme, world.accounts["acme"])
    for caller, name, role in (
        ("owner, stale second factor", "stale-owner", "owner"),
        ("owner, no second factor", "bare-owner", "owner"),
        ("admin", "admin", "admin"),
        ("member", "member", "member"),
        ("viewer", "viewer", "viewer"),
        ("catalogue_editor", "editor", "catalogue_editor"),
        ("analyst", "analyst", "analyst"),
        ("developer", "developer", "developer"),
        ("custom role", "reader", "people_reader"),
        ("disabled member", "disabled", "admin"),
    ):
        account = await world.person(name, acme, role)
        await world.session(caller, acme, account, fresh=not caller.startswith("owner,"))
    await world.person("demoted", acme, "developer")
    await world.person("bystander", acme, "member")
    await world.session("bystander", acme, world.accounts["bystander"])
    token = await world.foundation.auth.generate_manufacturer_token(
        {"manufacturer_id": acme, "company_name": "Acme", "email": "acme@example.com", "tier": "enterprise"}
    )
    world.callers["token of the company"] = {"authorization": f"Bearer {token}"}


async def _keys(world: World, acme: str) -> None:
    owner = world.accounts["acme"]
    world.ids["key_id"] = await world.key("key", acme, owner, "upload_products", "view_basic_analytics")
    await world.key("key without the permission", acme, owner, "security:read", "export_data")
    await world.key("key of a demoted developer", acme, world.accounts["demoted"], "upload_products")
    await world.key("disabled member's key", acme, world.accounts["disabled"], "upload_products")


async def _things(world: World, acme: str) -> None:
    """What paths name: all of it is there, so that a call that gets through would do something."""
    auth = world.foundation.auth
    world.ids["account_id"] = world.accounts["bystander"]
    world.ids["session_id"] = world.sessions["bystander"]
    device = await auth.register_trusted_device(
        acme, {"ip_address": "198.51.100.7", "user_agent": "test"}, account_id=world.accounts["acme"]
    )
    world.ids["device_id"] = device.device_id
    made = await world.foundation.rbac.members.invite(acme, "new@example.com", "viewer", None)
    world.ids["invitation_id"] = made.invitation_id
    incident = await world.foundation.monitor.create_security_incident(
        "something_odd", severity="high", manufacturer_id=acme
    )
    world.ids["incident_id"] = getattr(incident, "incident_id", "")
    world.ids |= {"passkey_id": "ab" * 16, "suggestion_id": "sug_x", "proposal_id": "prp_x", "measure_id": "msr_x"}
    world.ids |= {"event_id": "evt_x", "version": "0", "target": "products"}
