"""People of a manufacturer over HTTP: invited, cut by their role, and never beyond their own company."""

from __future__ import annotations

import httpx

from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from tests.web.conftest import PASSWORD, Join


async def test_an_invited_person_joins_with_a_role_that_cuts(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(tier="professional", recent_mfa=True)
    invite = {"email": "viewer@example.com", "role": "viewer"}
    assert (await http.post("/v1/members/invitations", json=invite, headers=owner["headers"])).status_code == 202
    await foundation.auth.services.mailer.drain()
    assert isinstance(foundation.notifier, MemoryNotifier)
    token = foundation.notifier.last("viewer@example.com", kind="invitation").data["token"]
    weak = await http.post("/v1/members/join", json={"token": token, "password": "password"})
    assert weak.status_code == 422 and weak.json()["errors"]
    joined = await http.post("/v1/members/join", json={"token": token, "password": PASSWORD})
    assert joined.status_code == 201 and joined.json()["role"] == "viewer"
    again = await http.post("/v1/members/join", json={"token": token, "password": PASSWORD})
    assert (again.status_code, again.json()["code"]) == (422, "INVALID_INVITATION")
    login = await http.post("/v1/auth/login", json={"email": "viewer@example.com", "password": PASSWORD})
    headers = {"authorization": f"Bearer {login.json()['access_token']}"}
    me = (await http.get("/v1/me", headers=headers)).json()
    assert me["permissions"] == ["view_basic_analytics"] and me["manufacturer_id"] == owner["manufacturer_id"]
    refused = await http.post("/v1/members/invitations", json=invite, headers=headers)
    assert refused.status_code == 403
    people = (await http.get("/v1/members", headers=owner["headers"])).json()["items"]
    assert [p["role"] for p in people] == ["owner", "viewer"]
    away = await http.put(
        f"/v1/members/{joined.json()['account_id']}", json={"status": "disabled"}, headers=owner["headers"]
    )
    assert away.status_code == 200
    assert (await http.get("/v1/me", headers=headers)).status_code in (401, 403)


async def test_the_token_is_looked_at_before_the_password(http: httpx.AsyncClient) -> None:
    for password in ("short", PASSWORD):
        refused = await http.post("/v1/members/join", json={"token": "nobody-has-this", "password": password})
        assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_INVITATION")


async def test_the_password_is_not_made_of_the_address(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(recent_mfa=True)
    invite = {"email": "marguerite@example.com", "role": "viewer"}
    await http.post("/v1/members/invitations", json=invite, headers=owner["headers"])
    await foundation.auth.services.mailer.drain()
    assert isinstance(foundation.notifier, MemoryNotifier)
    message = foundation.notifier.last("marguerite@example.com")
    assert "POST http://127.0.0.1:8000/v1/members/join" in message.body and "link" not in message.data
    body = {"token": message.data["token"], "password": "marguerite@example.com"}
    assert (await http.post("/v1/members/join", json=body)).status_code == 422


async def test_a_known_address_is_answered_alike_and_nobody_of_another_company_is_reached(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner, other = await join(recent_mfa=True), await join()
    known = await http.post(
        "/v1/members/invitations", json={"email": other["email"], "role": "viewer"}, headers=owner["headers"]
    )
    fresh = await http.post(
        "/v1/members/invitations", json={"email": "x@example.com", "role": "viewer"}, headers=owner["headers"]
    )
    assert (known.status_code, known.json()) == (fresh.status_code, fresh.json())
    foreign = await http.put(f"/v1/members/{other['account_id']}", json={"role": "viewer"}, headers=owner["headers"])
    assert (foreign.status_code, foreign.json()["code"]) == (404, "MEMBER_NOT_FOUND")
