"""Every route against every kind of caller: who is refused, with which code, and that a refusal changes nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatewright import ManualClock, SecurityFoundation, Settings
from gatewright.web import EXTENSION, create_app, declarations
from tests.access.table import ANYBODY, CALLERS, CALLS, OPEN, REACHED, Call, Caller, expected
from tests.access.world import PASSWORD, World, opened

VALID: dict[str, Any] = {
    "POST /v1/members/invitations": {"email": "mole@example.com", "role": "owner"},
    "PUT /v1/members/{account_id}": {"role": "owner"},
    "POST /v1/api-keys": {"name": "mine", "permissions": ["upload_products"]},
    "PUT /v1/profile": {"bank_account": "DE89370400440532013000"},
    "POST /v1/auth/password/change": {"current_password": PASSWORD, "new_password": "velvet-harbor-tundra-2210"},
    "PUT /v1/admin/manufacturers/{manufacturer_id}/tier": {"tier": "free", "reason": "because I can"},
    "POST /v1/admin/manufacturers/{manufacturer_id}/grants": {
        "permission": "export_data",
        "until": "2030-01-01T00:00:00Z",
        "reason": "because I can",
    },
    "POST /v1/admin/feedback": {"data": "x", "threat_type": "xss", "is_threat": False},
    "POST /v1/admin/incidents/{incident_id}/resolve": {"note": "nothing happened"},
    "POST /demo/products": {"name": "A lamp"},
}
"""Bodies that would do harm, for callers who are to be refused; ``disable`` and the like take a reason."""
REASON = {"reason": "because I can"}
LAST = ("POST /v1/auth/logout", "DELETE /v1/sessions")
"""What ends the caller's own session goes last."""
HARMLESS_QUERY = {"POST /v1/admin/keys/rotate": "?which=nothing"}
"""Calls that would do much without a body, made wrong where the caller may make them."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as made:
        yield made


def _path(call: Call, world: World, *, real: bool) -> tuple[str, str]:
    method, path = call.route.split(" ", 1)
    names = re.findall(r"\{(\w+)(?::\w+)?\}", path)
    for name in names:
        value = world.ids[name] if real or name in ("target", "version") else "nobody-has-this-id"
        path = re.sub(rf"\{{{name}(?::\w+)?\}}", value, path)
    return method, path


def _ordered() -> list[Call]:
    return sorted(CALLS, key=lambda call: LAST.index(call.route) if call.route in LAST else -1)


def test_every_route_has_a_row_and_every_row_a_route(tmp_path: Path) -> None:
    """A route that is added without saying here who may call it fails."""
    foundation = SecurityFoundation(Settings(database=":memory:", data_dir=tmp_path))
    declared = {f"{d.method} {d.path}": d for d in declarations(create_app(foundation, demo=True))}
    table = {call.route: call for call in CALLS}
    assert set(declared) == set(table)
    for route, call in table.items():
        found = declared[route]
        needs = OPEN if found.credentials == "none" else found.permission or ANYBODY
        keys = found.credentials in ("either", "key")
        assert (needs, keys, found.recent_mfa) == (call.needs, call.keys, call.step_up), route


@pytest.mark.parametrize("caller", CALLERS, ids=lambda c: c.name)
async def test_who_may_call_what(world: World, caller: Caller) -> None:
    """Refused calls are made with real ids and harmful bodies, others with ids and bodies that lead to nothing."""
    wrong = []
    before = await world.state()
    for call in _ordered():
        outcome = expected(call, caller)
        method, path = _path(call, world, real=outcome != REACHED)
        if outcome == REACHED:
            body = {} if method in ("POST", "PUT", "PATCH") else None
            answer = await world.call(caller.name, method, path + HARMLESS_QUERY.get(call.route, ""), body)
            refused = (answer.status_code, answer.json().get("code")) if _is_refusal(answer) else REACHED
        else:
            harm = VALID.get(call.route, REASON if method in ("POST", "PUT") else None)
            answer = await world.call(caller.name, method, path, harm)
            refused = (answer.status_code, answer.json()["code"])
            after = await world.state()
            changed = [table for table in after if after[table] != before[table]]
            if changed:
                wrong.append((call.route, "changed", changed))
        if refused != outcome:
            wrong.append((call.route, outcome, refused, answer.text[:200]))
        before = await world.state()
    assert wrong == []


def _is_refusal(answer: Any) -> bool:
    """Whether an answer is about who calls, rather than about what was sent."""
    if answer.status_code not in (401, 403):
        return False
    about_credentials = {
        "TOKEN_MISSING",
        "CREDENTIAL_NOT_ALLOWED",
        "INSUFFICIENT_PERMISSIONS",
        "MFA_REQUIRED",
        "MANUFACTURER_DISABLED",
        "INVALID_API_KEY",
    }
    return answer.json().get("code") in about_credentials


async def test_ids_of_another_tenant_lead_nowhere(world: World) -> None:
    """An owner with every permission, and every id of another company: nothing is shown and nothing changes."""
    before = await world.state()
    for call in CALLS:
        if "{" not in call.route or call.needs == OPEN or call.needs.startswith("platform:") or "target" in call.route:
            continue
        method, path = _path(call, world, real=True)
        harm = VALID.get(call.route, {} if method in ("POST", "PUT") else None)
        answer = await world.call("owner of another tenant", method, path, harm)
        assert answer.status_code in (204, 403, 404, 422), (call.route, answer.status_code)
        assert world.ids["manufacturer_id"] not in answer.text, call.route
    assert await world.state() == before


async def test_a_route_without_a_declaration_does_not_start(tmp_path: Path) -> None:
    """Deny is the default: what states nothing is refused before the first request."""
    from fastapi import FastAPI

    from gatewright.errors import ConfigurationError
    from gatewright.web import document

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/v1/forgotten")
    async def forgotten() -> dict[str, str]:
        return {}

    with pytest.raises(ConfigurationError, match="GET /v1/forgotten does not declare who may call it"):
        document(app)


async def test_the_document_has_the_line_of_every_route(tmp_path: Path) -> None:
    foundation = SecurityFoundation(Settings(database=":memory:", data_dir=tmp_path), clock=ManualClock())
    paths = create_app(foundation).openapi()["paths"]
    invite = paths["/v1/members/invitations"]["post"]
    assert invite[EXTENSION] == {
        "credentials": "session",
        "permission": "members:manage",
        "recent_mfa": True,
        "consumes": {},
        "audience": "members of a manufacturer",
    }
    assert "Access: session, permission `members:manage`, recent second factor." in invite["description"]
    assert all(EXTENSION in operation for calls in paths.values() for operation in calls.values())
