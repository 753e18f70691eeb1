"""The HTTP API: the way in, the account, and help for bad input."""

from __future__ import annotations

from typing import Any

import httpx
import pyotp
import pytest

from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from tests.web.conftest import PASSWORD, Join

REGISTRATION = {"email": "new@example.com", "password": PASSWORD, "company_name": "Alder Works"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which must be this one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"].startswith("urn:gatewright:error:") and body["title"] and body["detail"].endswith((".", "?"))
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


async def test_a_manufacturer_registers_verifies_and_signs_in(
    http: httpx.AsyncClient, foundation: SecurityFoundation
) -> None:
    answer = await http.post("/v1/manufacturers", json=REGISTRATION)
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    mail = await _mail(foundation, "new@example.com")
    verified = await http.post("/v1/manufacturers/verify", json={"token": mail["token"]})
    assert verified.status_code == 201 and verified.json()["tier"] == "free"
    login = await http.post("/v1/auth/login", json={"email": "NEW@example.com", "password": PASSWORD})
    tokens = login.json()
    assert tokens["status"] == "authenticated" and tokens["token_type"] == "Bearer" and tokens["expires_in"] == 900
    me = await http.get("/v1/me", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert me.json()["manufacturer_id"] == verified.json()["manufacturer_id"]
    assert me.json()["permissions"] == ["upload_products", "view_basic_analytics"]


async def _mail(foundation: SecurityFoundation, to: str) -> dict[str, Any]:
    await foundation.auth.services.mailer.drain()
    assert isinstance(foundation.notifier, MemoryNotifier)
    return dict(foundation.notifier.last(to).data)


async def test_a_known_address_is_answered_as_a_new_one(http: httpx.AsyncClient, join: Join) -> None:
    known = await join()
    fresh = await http.post("/v1/manufacturers", json=REGISTRATION)
    again = await http.post("/v1/manufacturers", json={**REGISTRATION, "email": known["email"]})
    assert (fresh.status_code, fresh.json()) == (again.status_code, again.json())


async def test_unknown_address_and_wrong_password_answer_alike(http: httpx.AsyncClient, join: Join) -> None:
    known = await join()
    wrong = await http.post("/v1/auth/login", json={"email": known["email"], "password": "wrong-" + PASSWORD})
    unknown = await http.post("/v1/auth/login", json={"email": "nobody@example.com", "password": PASSWORD})
    bodies = [problem(answer, 401, "INVALID_CREDENTIALS") for answer in (wrong, unknown)]
    assert bodies[0]["detail"] == bodies[1]["detail"]


async def test_the_second_factor_is_asked_for_and_taken(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join()
    enrolment = (await http.post("/v1/mfa/totp", json={}, headers=owner["headers"])).json()
    assert enrolment["qr_code"].startswith("data:image/svg+xml") and len(enrolment["backup_codes"]) == 10
    code = pyotp.TOTP(enrolment["secret"]).at(int(foundation.clock.timestamp()))
    confirmed = await http.post("/v1/mfa/totp/confirm", json={"code": code}, headers=owner["headers"])
    assert confirmed.json()["enabled"] is True
    asked = (await http.post("/v1/auth/login", json={"email": owner["email"], "password": PASSWORD})).json()
    assert asked["status"] == "mfa_required" and "access_token" not in asked
    body = {"challenge_id": asked["challenge_id"], "code": enrolment["backup_codes"][0]}
    done = await http.post("/v1/auth/mfa", json=body)
    assert done.json()["status"] == "authenticated"
    problem(await http.post("/v1/auth/mfa", json=body), 401, "INVALID_CHALLENGE")


async def test_a_refresh_gives_new_tokens_and_a_logout_ends_them(http: httpx.AsyncClient, join: Join) -> None:
    owner = await join()
    login = await http.post("/v1/auth/login", json={"email": owner["email"], "password": PASSWORD})
    refreshed = await http.post("/v1/auth/refresh", json={"refresh_token": login.json()["refresh_token"]})
    headers = {"authorization": f"Bearer {refreshed.json()['access_token']}"}
    assert (await http.get("/v1/me", headers=headers)).status_code == 200
    assert (await http.post("/v1/auth/logout", headers=headers)).status_code == 204
    problem(await http.get("/v1/me", headers=headers), 401, "SESSION_ENDED")


async def test_a_forgotten_password_is_reset_by_mail(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join()
    asked = await http.post("/v1/auth/password/forgot", json={"email": owner["email"]})
    nobody = await http.post("/v1/auth/password/forgot", json={"email": "nobody@example.com"})
    assert (asked.status_code, asked.json()) == (nobody.status_code, nobody.json())
    token = (await _mail(foundation, owner["email"]))["token"]
    fresh = "quartz-meadow-trumpet-9038"
    assert (await http.post("/v1/auth/password/reset", json={"token": token, "new_password": fresh})).status_code == 204
    login = await http.post("/v1/auth/login", json={"email": owner["email"], "password": fresh})
    assert login.json()["status"] == "authenticated"


async def test_sessions_are_listed_and_ended(http: httpx.AsyncClient, join: Join) -> None:
    owner = await join()
    await http.post("/v1/auth/login", json={"email": owner["email"], "password": PASSWORD})
    listed = (await http.get("/v1/sessions", headers=owner["headers"])).json()["items"]
    assert len(listed) == 2 and [s["current"] for s in listed].count(True) == 1
    assert (await http.delete("/v1/sessions", headers=owner["headers"])).json() == {"ended": 1}
    assert len((await http.get("/v1/sessions", headers=owner["headers"])).json()["items"]) == 1


async def test_one_manufacturer_reaches_nothing_of_another(http: httpx.AsyncClient, join: Join) -> None:
    mine, other = await join(recent_mfa=True), await join()
    await http.delete(f"/v1/sessions/{other['session_id']}", headers=mine["headers"])
    assert (await http.get("/v1/me", headers=other["headers"])).status_code == 200
    for path in ("/v1/devices/dev_x", "/v1/api-keys/key_x"):
        answer = await http.delete(path, headers=mine["headers"])
        assert answer.status_code in (204, 403, 404)
    problem(await http.get("/v1/admin/manufacturers", headers=mine["headers"]), 403, "INSUFFICIENT_PERMISSIONS")


async def test_the_profile_is_kept_encrypted_and_shown_masked(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(tax_id="12-3456789", business_license="BL-2024-77120")
    shown = (await http.get("/v1/profile", headers=owner["headers"])).json()
    assert shown["masked"] and "12-3456789" not in str(shown)
    stored = await foundation.store.get_manufacturer(owner["manufacturer_id"])
    assert stored is not None and stored.profile is not None and "3456789" not in stored.profile
    change = await http.put("/v1/profile", json={"tax_id": "98-7654321"}, headers=owner["headers"])
    problem(change, 401, "MFA_REQUIRED")
    await foundation.auth.note_mfa(owner["session_id"])
    assert (await http.put("/v1/profile", json={"tax_id": "98-7654321"}, headers=owner["headers"])).status_code == 200
    clear = (await http.get("/v1/profile", headers=owner["headers"])).json()
    assert not clear["masked"] and clear["profile"]["tax_id"] == "98-7654321"
    assert clear["profile"]["business_license"] == "BL-2024-77120"
    bad = await http.put("/v1/profile", json={"tax_id": "1"}, headers=owner["headers"])
    assert problem(bad, 422, "VALIDATION_FAILED")["errors"][0]["error_type"] == "INVALID_TAX_ID_FORMAT"


async def test_an_api_key_can_do_no_more_than_it_was_given(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(tier="professional")
    await foundation.auth.note_mfa(owner["session_id"])
    body = {"name": "server", "permissions": ["upload_products"]}
    made = (await http.post("/v1/api-keys", json=body, headers=owner["headers"])).json()
    assert made["key"].startswith("gw_")
    me = await http.get("/v1/me", headers={"x-api-key": made["key"]})
    assert me.json()["permissions"] == ["upload_products"] and me.json()["signed_in_by"] == "api_key"
    rotated = await http.post(f"/v1/api-keys/{made['key_id']}/rotate", headers=owner["headers"])
    assert rotated.status_code == 201 and rotated.json()["key"] != made["key"]
    assert (await http.get("/v1/me", headers={"x-api-key": made["key"]})).status_code == 200
    listed = (await http.get("/v1/api-keys", headers=owner["headers"])).json()["items"]
    assert {key["key_id"] for key in listed} == {rotated.json()["key_id"], made["key_id"]}
    assert not any(key.get("key") for key in listed)
    assert (await http.delete(f"/v1/api-keys/{made['key_id']}", headers=owner["headers"])).status_code == 204
    assert (await http.get("/v1/me", headers={"x-api-key": made["key"]})).status_code == 401


async def test_inspect_tells_what_it_finds_and_is_not_itself_blocked(http: httpx.AsyncClient, join: Join) -> None:
    owner = await join()
    found = await http.post("/v1/inspect", json={"q": "x' UNION SELECT a, b FROM c --"}, headers=owner["headers"])
    assert found.json()["threat_detected"] and found.json()["findings"][0]["path"] == "$.q"
    clean = await http.post("/v1/inspect", json={"q": "Torque wrench"}, headers=owner["headers"])
    assert not clean.json()["threat_detected"]


async def test_forward_auth_answers_for_proxies(http: httpx.AsyncClient, join: Join) -> None:
    owner = await join(tier="professional")
    answer = await http.get("/v1/forward-auth", headers=owner["headers"])
    assert answer.status_code == 200 and answer.headers["x-gatewright-tier"] == "professional"
    assert "export_data" in answer.headers["x-gatewright-permissions"].split(",")
    problem(await http.get("/v1/forward-auth"), 401, "TOKEN_MISSING")


@pytest.mark.parametrize("name", ["X-Original-URI", "X-Original-URL", "X-Forwarded-Uri"])
async def test_forward_auth_looks_at_the_target_asked_about(http: httpx.AsyncClient, join: Join, name: str) -> None:
    owner = await join()
    for attack in (
        "/p?q=%27%20UNION%20SELECT%20a,%20b%20FROM%20c%20--",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/p?a=1&q=<script>x()",
    ):
        asked = await http.get("/v1/forward-auth", headers={**owner["headers"], name: attack})
        problem(asked, 403, "THREAT_DETECTED")
    for harmless in ("/products?page=2&sort=name&q=oak+shelf", "/a%20b/ü", "*", ""):
        asked = await http.get("/v1/forward-auth", headers={**owner["headers"], name: harmless.encode()})
        assert asked.status_code == 200, harmless


async def test_inspect_takes_any_json(http: httpx.AsyncClient, join: Join) -> None:
    headers = {**(await join())["headers"], "content-type": "application/json"}
    for value in ("null", "0", "[]", '"text"'):
        assert (await http.post("/v1/inspect", content=value, headers=headers)).json()["threat_detected"] is False
    problem(await http.post("/v1/inspect", content="", headers=headers), 422, "MISSING_BODY")


async def test_health_needs_nobody(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    ready = await http.get("/readyz")
    assert ready.status_code == 200 and ready.json()["checks"]["store"] == "ok"
    assert "gatewright" in (await http.get("/metrics")).text
    assert (await http.get("/.well-known/jwks.json")).json() == {"keys": []}
    assert (await http.get("/openapi.json")).json()["info"]["title"] == "Gatewright"


async def test_every_operation_has_a_short_summary(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            summary, description = operation["summary"], " ".join(operation["description"].split())
            assert description.startswith(summary), (method, path)
            assert " " in summary and len(summary) <= 110 and not summary.endswith("."), (method, path, summary)


async def test_missing_and_unknown_fields_are_named(http: httpx.AsyncClient) -> None:
    body = {name: value for name, value in REGISTRATION.items() if name != "company_name"}
    refused = (await http.post("/v1/manufacturers", json={**body, "tier": "enterprise"})).json()
    assert {(e["field"], e["error_type"], e["message"]) for e in refused["errors"]} == {
        ("company_name", "MISSING_FIELD", "company_name is required."),
        ("tier", "UNKNOWN_FIELD", "Unknown field. Remove it."),
    }


@pytest.mark.parametrize(
    ("request_arguments", "status", "code"),
    [
        ({"json": {**REGISTRATION, "tier": "enterprise"}}, 422, "VALIDATION_FAILED"),
        ({"json": {**REGISTRATION, "email": 5}}, 422, "VALIDATION_FAILED"),
        ({"json": {"email": "x"}}, 422, "VALIDATION_FAILED"),
        ({"json": {**REGISTRATION, "password": "short"}}, 422, "VALIDATION_FAILED"),
        ({"content": b"x" * 20_000_000, "headers": {"content-type": "application/json"}}, 413, "BODY_TOO_LARGE"),
        (
            {"content": b"[" * 10_000 + b"]" * 10_000, "headers": {"content-type": "application/json"}},
            400,
            "NESTING_TOO_DEEP",
        ),
        ({"content": b'{"email": "\xff"}', "headers": {"content-type": "application/json"}}, 400, "INVALID_ENCODING"),
        ({"content": b'{"email": ', "headers": {"content-type": "application/json"}}, 400, "INVALID_JSON"),
        ({"content": b"\x1f\x8b", "headers": {"content-encoding": "gzip"}}, 400, "INVALID_COMPRESSION"),
        ({"content": b"\x1f\x9d", "headers": {"content-encoding": "compress"}}, 415, "ENCODING_NOT_SUPPORTED"),
        ({"json": {**REGISTRATION, "company_name": "<script>alert(1)</script>"}}, 403, "THREAT_DETECTED"),
    ],
)
async def test_bad_input_gets_help(
    http: httpx.AsyncClient, request_arguments: dict[str, Any], status: int, code: str
) -> None:
    body = problem(await http.post("/v1/manufacturers", **request_arguments), status, code)
    if status == 422:
        assert all(e["field"] and e["error_type"].isupper() and e["message"] for e in body["errors"])


async def test_an_unknown_field_is_named(http: httpx.AsyncClient) -> None:
    body = problem(await http.post("/v1/auth/login", json={"email": "a@b.c", "pasword": "x"}), 422, "VALIDATION_FAILED")
    assert {(e["field"], e["error_type"]) for e in body["errors"]} == {
        ("password", "MISSING_FIELD"),
        ("pasword", "UNKNOWN_FIELD"),
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "TOKEN_MISSING"),
        ({"authorization": "Bearer garbage"}, "INVALID_TOKEN"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "INVALID_TOKEN"),
        ({"authorization": "Bearer " + "x" * 9_000}, "INVALID_TOKEN"),
        ({"authorization": "Bearer"}, "INVALID_TOKEN"),
        ({"authorization": "Bearer a.b.c", "x-api-key": "gw_x_y"}, "INVALID_TOKEN"),
        ({"cookie": "__Host-gatewright=garbage"}, "TOKEN_MISSING"),
    ],
)
async def test_missing_and_garbage_tokens_are_told(http: httpx.AsyncClient, headers: dict[str, str], code: str) -> None:
    answer = await http.get("/v1/me", headers=headers)
    problem(answer, 401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_garbage_api_key_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/me", headers={"x-api-key": "gw_garbage"})).status_code == 401


async def test_paths_and_methods_that_are_not_there_are_problems_too(http: httpx.AsyncClient) -> None:
    problem(await http.get("/nowhere"), 404, "NOT_FOUND")
    problem(await http.put("/healthz"), 405, "METHOD_NOT_ALLOWED")
