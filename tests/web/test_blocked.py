"""A blocked network: probes answer, an admin who just showed a second factor gets in to lift it, no one else does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gatewright.controls import Measure
from gatewright.foundation import SecurityFoundation
from tests.web.conftest import PASSWORD, Join
from tests.web.test_admin import admin

__all__ = ["admin"]
SCOPES = ["network:198.51.100.0/24", "manufacturer:platform"]


async def block(foundation: SecurityFoundation, scope: str) -> None:
    measure = Measure(measure_id="mea_block", kind="block", scope=scope, created_at=foundation.clock.now())
    await foundation.monitor.posture.impose(measure)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_never_blocked(http: httpx.AsyncClient, foundation: SecurityFoundation, path: str) -> None:
    await block(foundation, SCOPES[0])
    assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("scope", SCOPES)
async def test_an_admin_with_a_recent_second_factor_lifts_the_block(
    http: httpx.AsyncClient, foundation: SecurityFoundation, admin: dict[str, str], scope: str
) -> None:
    await block(foundation, scope)
    listed = await http.get("/v1/admin/posture", headers=admin)
    assert listed.status_code == 200
    (found,) = listed.json()["in_force"]
    lifted = await http.post(f"/v1/admin/posture/{found['id']}/roll-back", headers=admin)
    assert (lifted.status_code, lifted.json()["status"]) == (200, "rolled_back")
    assert foundation.controls.snapshot() == []


async def test_nobody_else_gets_in_from_there(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join, admin: dict[str, str]
) -> None:
    owner = await join()
    await block(foundation, SCOPES[0])
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/auth/login", {"json": {"email": "admin@example.com", "password": PASSWORD}}),
        ("POST", "/v1/auth/mfa", {"json": {"challenge_id": "x", "code": "123456"}}),
        ("GET", "/v1/admin/posture", {"headers": owner["headers"]}),
        ("GET", "/v1/me", {"headers": owner["headers"]}),
        ("GET", "/v1/me", {"headers": admin}),  # what does not lift a block stays blocked for staff too
    ]
    for method, path, options in calls:
        answer = await http.request(method, path, **options)
        assert (answer.status_code, answer.json()["code"]) == (429, "BLOCKED"), path
    assert (await http.get("/v1/admin/posture")).status_code in {401, 429}


async def test_an_old_second_factor_does_not_get_in(
    http: httpx.AsyncClient, foundation: SecurityFoundation, admin: dict[str, str]
) -> None:
    await block(foundation, SCOPES[0])
    foundation.clock.advance(minutes=14, seconds=50)
    assert (await http.get("/v1/admin/posture", headers=admin)).status_code == 200
    foundation.clock.advance(seconds=15)
    assert (await http.get("/v1/admin/posture", headers=admin)).status_code in {401, 429}
