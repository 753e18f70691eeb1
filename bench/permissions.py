"""Permission check, stored tier included, against pycasbin (RBAC with domains) and cedarpy. Microseconds a check."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import casbin
import cedarpy

from gatewright.policy import load_policy
from gatewright.rbac import ManufacturerContext, ManufacturerRBACManager
from gatewright.storage import SqliteStore, StoredAccount, StoredManufacturer

TENANTS = 100
ROUNDS = 5
TARGET, CEILING_US = 30.0, 5.0

MODEL = """
[request_definition]
r = sub, dom, obj
[policy_definition]
p = sub, dom, obj
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj
"""


def peer_casbin() -> Callable[[int], Any]:
    """One tenant with the permissions of its tier. pycasbin walks all its policies at each check, so this is the
    best that it can do; ours has a hundred tenants."""
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    for permission in sorted(load_policy().permissions_of_tier("professional")):
        enforcer.add_policy("professional", "m", permission)
    enforcer.add_grouping_policy("user", "professional", "m")
    return lambda _: enforcer.enforce("user", "m", "api_access")


def peer_cedar() -> Callable[[int], Any]:
    """One policy for each permission of the tier, entities given with the request, as cedarpy wants them."""
    text = "\n".join(
        f'permit(principal in Tier::"professional", action == Action::"{p}", resource);'
        for p in sorted(load_policy().permissions_of_tier("professional"))
    )
    policies = cedarpy.PolicySet.from_str(text)
    entities = json.dumps(
        [{"uid": {"type": "M", "id": "m"}, "attrs": {}, "parents": [{"type": "Tier", "id": "professional"}]}]
    )
    request = {"principal": 'M::"m"', "action": 'Action::"api_access"', "resource": 'R::"r"', "context": {}}
    return lambda _: cedarpy.is_authorized(request, policies, entities)


def each(call: Callable[[int], Any], count: int) -> float:
    """Microseconds a call."""
    begin = time.perf_counter()
    for number in range(count):
        call(number)
    return (time.perf_counter() - begin) / count * 1e6


async def filled() -> SqliteStore:
    """A store with registered manufacturers and their people."""
    store = SqliteStore()
    await store.initialize()
    now = datetime.now(UTC)
    for number in range(TENANTS):
        name = f"m{number}"
        owner = StoredAccount(
            account_id=f"a{number}",
            manufacturer_id=name,
            email=f"{name}@example.com",
            email_key=f"{name}@example.com",
            created_at=now,
            updated_at=now,
        )
        tenant = StoredManufacturer(
            manufacturer_id=name, company_name=name, tier="professional", created_at=now, updated_at=now
        )
        await store.create_manufacturer(tenant, owner)
    return store


async def main() -> int:
    store = await filled()
    contexts = [
        ManufacturerContext(f"m{n}", "C", "e", "free", ["manufacturer_professional", "owner"], account_id=f"a{n}")
        for n in range(TENANTS)
    ]
    casbin_us, cedar_us, ours_us = [], [], []
    call_casbin, call_cedar = peer_casbin(), peer_cedar()
    async with ManufacturerRBACManager(store=store, strict_tenants=True) as rbac:
        for context in contexts:
            assert await rbac.has_permission(context, "api_access")
        for _ in range(ROUNDS):
            casbin_us.append(each(call_casbin, 2_000))
            cedar_us.append(each(call_cedar, 2_000))
            begin = time.perf_counter()
            for number in range(50_000):
                await rbac.has_permission(contexts[number % TENANTS], "api_access")
            ours_us.append((time.perf_counter() - begin) / 50_000 * 1e6)
        clock, singles = time.perf_counter_ns, []
        for number in range(100_000):
            begin_ns = clock()
            await rbac.has_permission(contexts[number % TENANTS], "api_access")
            singles.append(clock() - begin_ns)
    await store.close()
    ours, peer, cedar = (statistics.median(f) for f in (ours_us, casbin_us, cedar_us))
    p99 = sorted(singles)[int(len(singles) * 0.99)] / 1e3
    print(f"gatewright has_permission   {ours:8.2f} us   p99 {p99:.2f} us (target <= {CEILING_US})")
    print(f"pycasbin {version('pycasbin'):<18} {peer:8.2f} us   {peer / ours:5.1f} x (target >= {TARGET:.0f} x)")
    print(f"cedarpy {version('cedarpy'):<19} {cedar:8.2f} us   {cedar / ours:5.1f} x")
    return 0 if peer / ours >= TARGET and p99 <= CEILING_US else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
