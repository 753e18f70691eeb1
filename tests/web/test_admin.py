"""The platform's staff over HTTP: only with the role and a recent second factor, and every change is audited."""

from __future__ import annotations

from typing import Any

import httpx
import pyotp
import pytest

from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.web import create_admin
from tests.web.conftest import PASSWORD, Join

REASON = {"reason": "signed contract"}


@pytest.fixture
async def admin(http: httpx.AsyncClient, foundation: SecurityFoundation) -> dict[str, str]:
    """Headers of an admin who has just shown a second factor."""
    secret = await create_admin(foundation, "admin@example.com", PASSWORD)
    login = (await http.post("/v1/auth/login", json={"email": "admin@example.com", "password": PASSWORD})).json()
    code = pyotp.TOTP(secret).at(int(foundation.clock.timestamp()))
    done = await http.post("/v1/auth/mfa", json={"challenge_id": login["challenge_id"], "code": code})
    return {"authorization": f"Bearer {done.json()['access_token']}"}


async def test_a_tier_is_raised_at_once_with_before_and_after(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join, admin: dict[str, str]
) -> None:
    owner = await join()
    path = f"/v1/admin/manufacturers/{owner['manufacturer_id']}"
    raised = await http.put(f"{path}/tier", json={"tier": "enterprise", **REASON}, headers=admin)
    assert raised.json()["tier"] == "enterprise" and "profile" not in raised.json()
    assert (await http.get("/v1/me", headers=owner["headers"])).json()["tier"] == "enterprise"
    events = (await http.get("/v1/admin/events?kind=admin:tier:changed", headers=admin)).json()["items"]
    assert len(events) == 1 and "enterprise" in str(events[0]) and "free" in str(events[0])


async def test_a_disabled_manufacturer_is_out_and_can_be_let_in(
    http: httpx.AsyncClient, join: Join, admin: dict[str, str]
) -> None:
    owner = await join()
    path = f"/v1/admin/manufacturers/{owner['manufacturer_id']}"
    assert (await http.post(f"{path}/disable", json=REASON, headers=admin)).json()["status"] == "disabled"
    assert (await http.get("/v1/me", headers=owner["headers"])).status_code == 401
    login = await http.post("/v1/auth/login", json={"email": owner["email"], "password": PASSWORD})
    assert login.status_code == 401
    assert (await http.post(f"{path}/enable", json=REASON, headers=admin)).json()["status"] == "active"
    login = await http.post("/v1/auth/login", json={"email": owner["email"], "password": PASSWORD})
    assert login.json()["status"] == "authenticated"


async def test_an_old_second_factor_is_not_enough(
    http: httpx.AsyncClient, foundation: SecurityFoundation, admin: dict[str, str]
) -> None:
    foundation.clock.advance(minutes=14, seconds=50)
    assert (await http.get("/v1/admin/manufacturers", headers=admin)).status_code == 200
    foundation.clock.advance(seconds=15)
    stale = await http.get("/v1/admin/manufacturers", headers=admin)
    assert (stale.status_code, stale.json()["code"]) in {(401, "MFA_REQUIRED"), (401, "TOKEN_EXPIRED")}


async def test_a_verification_says_what_the_log_was_held_against(
    http: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    told = (await http.get("/v1/admin/audit/verify", headers=admin)).json()
    assert told["valid"] is True and told["held_against"] and "bound_from" in told


READS = [
    "/v1/admin/manufacturers",
    "/v1/admin/events",
    "/v1/admin/incidents",
    "/v1/admin/audit/verify",
    "/v1/admin/performance",
    "/v1/admin/posture",
    "/v1/admin/posture/proposals",
    "/v1/admin/policy",
    "/v1/admin/model/versions",
    "/v1/admin/model/statistics",
]


@pytest.mark.parametrize("path", READS)
async def test_staff_reads_and_nobody_else(
    http: httpx.AsyncClient, join: Join, admin: dict[str, str], path: str
) -> None:
    assert (await http.get(path, headers=admin)).status_code == 200
    owner = await join()
    assert (await http.get(path, headers=owner["headers"])).status_code == 403
    assert (await http.get(path)).status_code == 401


async def test_every_admin_call_is_for_staff_only(http: httpx.AsyncClient, app: Any, join: Join) -> None:
    owner = await join()
    calls = [(p, m) for p, found in app.openapi()["paths"].items() if p.startswith("/v1/admin") for m in found]
    assert len(calls) > 15
    for path, method in calls:
        answer = await http.request(method, path.replace("{", "").replace("}", ""), json={}, headers=owner["headers"])
        assert (answer.status_code, answer.json()["code"]) == (403, "INSUFFICIENT_PERMISSIONS"), (method, path)


async def test_the_audit_log_is_signed_and_proves_an_event(
    http: httpx.AsyncClient, join: Join, admin: dict[str, str]
) -> None:
    await join()
    assert (await http.get("/v1/admin/audit/verify", headers=admin)).json()["valid"]
    checkpoint = await http.post("/v1/admin/audit/checkpoint", headers=admin)
    assert checkpoint.status_code == 201
    event = (await http.get("/v1/admin/events?limit=1", headers=admin)).json()["items"][0]
    event_id = event.get("event_id") or event["event"]["event_id"]
    assert (await http.get(f"/v1/admin/audit/prove/{event_id}", headers=admin)).status_code == 200


async def test_keys_rotate_and_old_tokens_still_verify(
    http: httpx.AsyncClient, join: Join, admin: dict[str, str]
) -> None:
    owner = await join()
    for which in ("signing", "encryption"):
        assert (await http.post(f"/v1/admin/keys/rotate?which={which}", headers=admin)).status_code == 200
    assert (await http.get("/v1/me", headers=owner["headers"])).status_code == 200


async def test_grants_feedback_and_missing_tenants(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join, admin: dict[str, str]
) -> None:
    owner = await join()
    until = foundation.clock.now().replace(year=foundation.clock.now().year + 1).isoformat()
    body = {"permission": "export_data", "until": until, **REASON}
    path = f"/v1/admin/manufacturers/{owner['manufacturer_id']}"
    assert (await http.post(f"{path}/grants", json=body, headers=admin)).status_code == 201
    me = (await http.get("/v1/me", headers=owner["headers"])).json()
    assert "export_data" in me["permissions"]
    said = {"data": "chair", "threat_type": "sql_injection", "is_threat": False}
    assert (await http.post("/v1/admin/feedback", json=said, headers=admin)).status_code == 201
    missing = await http.get("/v1/admin/manufacturers/nobody", headers=admin)
    assert (missing.status_code, missing.json()["code"]) == (404, "MANUFACTURER_NOT_FOUND")
    assert (await http.get(path, headers=admin)).json()["usage"]


async def test_a_lost_second_factor_is_reset_told_and_audited(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join, admin: dict[str, str]
) -> None:
    owner = await join()
    enrolment = await foundation.auth.setup_mfa(owner["manufacturer_id"], account_id=owner["account_id"])
    code = pyotp.TOTP(enrolment.secret).at(int(foundation.clock.timestamp()))
    await foundation.auth.confirm_mfa(owner["manufacturer_id"], code, account_id=owner["account_id"])
    path = f"/v1/admin/manufacturers/{owner['manufacturer_id']}/accounts/{owner['account_id']}/mfa/reset"
    assert (await http.post(path, json={"reason": "phone lost, identity shown"}, headers=admin)).status_code == 204
    assert (await http.get("/v1/me", headers=owner["headers"])).status_code == 401
    await foundation.auth.services.mailer.drain()
    assert isinstance(foundation.notifier, MemoryNotifier) and foundation.notifier.last(owner["email"])
    events = (await http.get("/v1/admin/events?kind=admin:mfa:reset", headers=admin)).json()["items"]
    assert len(events) == 1 and "phone lost" in str(events[0])
