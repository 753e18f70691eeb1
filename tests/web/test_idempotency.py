"""``Idempotency-Key`` and ``ETag``: a retried request changes nothing, and a repeated read returns little."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from gatewright.foundation import SecurityFoundation
from gatewright.web import CLAIM_LIFETIME, RETENTION, install, requires
from tests.support.waiting import eventually
from tests.web.conftest import PASSWORD, Join

NEW_KEY = {"name": "server", "permissions": ["upload_products"]}


@pytest.fixture
def join(join: Join, foundation: SecurityFoundation) -> Join:
    """Join with a recent second factor, which API keys require."""

    async def confirmed() -> dict[str, Any]:
        who = await join("professional")
        await foundation.auth.note_mfa(who["session_id"])
        return who

    return confirmed


async def post(
    http: httpx.AsyncClient, who: dict[str, Any], body: Any, key: str = "k1", path: str = "/v1/api-keys"
) -> Any:
    return await http.post(path, headers={**who["headers"], "idempotency-key": key}, json=body)


async def test_a_call_that_is_sent_again_makes_nothing_more(http: httpx.AsyncClient, join: Join) -> None:
    who = await join()
    first, second = await post(http, who, NEW_KEY), await post(http, who, NEW_KEY)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert first.status_code == 201 and first.json()["key"].startswith("gw_")
    assert second.headers["content-type"] == "application/json" and second.headers["cache-control"] == "no-store"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len((await http.get("/v1/api-keys", headers=who["headers"])).json()["items"]) == 1
    assert (await post(http, who, NEW_KEY, "k2")).json()["key_id"] != first.json()["key_id"]


async def test_one_key_is_for_one_request(http: httpx.AsyncClient, join: Join) -> None:
    who = await join()
    await post(http, who, NEW_KEY)
    other = await post(http, who, {**NEW_KEY, "name": "another"})
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_nobody_finds_the_answer_of_another(http: httpx.AsyncClient, join: Join) -> None:
    one, two = await join(), await join()
    mine, yours = await post(http, one, NEW_KEY), await post(http, two, NEW_KEY)
    assert yours.status_code == 201
    assert mine.json()["key"] != yours.json()["key"]
    assert yours.json()["manufacturer_id"] == two["manufacturer_id"]


async def test_a_refusal_is_not_kept(http: httpx.AsyncClient, join: Join) -> None:
    who = await join()
    assert (await post(http, who, {"name": "x", "permissions": ["bulk_operations"]})).status_code == 403
    assert (await post(http, who, NEW_KEY)).status_code == 201


async def test_of_many_at_once_one_is_made(http: httpx.AsyncClient, join: Join) -> None:
    who = await join()
    answers = await asyncio.gather(*(post(http, who, NEW_KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["key"] for answer in answers if answer.status_code == 201}) == 1
    assert len((await http.get("/v1/api-keys", headers=who["headers"])).json()["items"]) == 1


async def test_a_call_that_is_being_made_is_waited_for(
    foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    """For a minute; a process that was killed in between does not hold the key for longer."""
    who = await join()
    await post(http, who, NEW_KEY)
    rows = await foundation.store.engine.read(  # type: ignore[attr-defined]  # the embedded store
        lambda c: c.execute("SELECT key FROM one_time_secrets WHERE purpose = 'idempotent answer'").fetchall()
    )
    ((place,),) = rows
    await foundation.store.drop_one_time("idempotent answer", place)
    busy = await post(http, who, NEW_KEY)
    assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (409, "CALL_IN_PROGRESS", "1")
    foundation.clock.advance(CLAIM_LIFETIME.total_seconds() + 1)  # type: ignore[attr-defined]  # turned by hand
    assert (await post(http, who, NEW_KEY)).status_code == 201
    foundation.clock.advance(CLAIM_LIFETIME.total_seconds() + 1)  # type: ignore[attr-defined]  # turned by hand
    assert (await post(http, who, {**NEW_KEY, "name": "another"})).status_code == 422, "the answer is kept for longer"


async def test_the_key_is_free_again_after_a_day(foundation: SecurityFoundation, http: httpx.AsyncClient) -> None:
    sent = foundation.notifier.messages  # type: ignore[attr-defined]  # the one of tests
    body = {"email": "new@example.com", "password": PASSWORD, "company_name": "Alder Works"}
    for expected in (1, 1, 2, 2):
        answer = await http.post("/v1/manufacturers", headers={"idempotency-key": "k"}, json=body)
        assert answer.status_code == 202
        await eventually(lambda expected=expected: len(sent) >= expected)
        assert len(sent) == expected
        foundation.clock.advance(RETENTION.total_seconds() / 2 + 1)  # type: ignore[attr-defined]  # turned by hand


async def test_an_answer_is_sealed_at_rest(foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join) -> None:
    made = (await post(http, await join(), NEW_KEY)).json()
    rows = await foundation.store.engine.read(  # type: ignore[attr-defined]  # the embedded store
        lambda c: c.execute("SELECT * FROM one_time_secrets").fetchall()
    )
    assert rows
    assert made["key"] not in str(rows) and made["key"].rsplit("_", 1)[1] not in str(rows)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ü", "a\tb"])
async def test_a_key_that_is_none(http: httpx.AsyncClient, join: Join, key: str) -> None:
    who = await join()
    raw = [*((k.encode(), v.encode()) for k, v in who["headers"].items()), (b"idempotency-key", key.encode())]
    answer = await http.post("/v1/api-keys", headers=raw, json=NEW_KEY)
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")


async def test_a_repetition_costs_no_quota(
    app: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    @app.post(
        "/things", status_code=201, dependencies=[Depends(requires("upload_products", consumes="product_uploads"))]
    )
    async def things() -> dict[str, str]:
        return {"made": "yes"}

    who = await join()
    for _ in range(3):
        assert (await post(http, who, {"name": "Oak shelf"}, path="/things")).status_code == 201
    assert await foundation.rbac.get_current_usage(who["manufacturer_id"], "product_uploads") == 1


@pytest.fixture
def paid(app: FastAPI) -> FastAPI:
    @app.post("/paid", status_code=201, dependencies=[Depends(requires(consumes="data_exports"))])
    async def made() -> dict[str, str]:
        return {"made": secrets.token_hex(8)}

    return app


async def use_up(foundation: SecurityFoundation, who: dict[str, Any]) -> None:
    left = (await foundation.rbac.check_usage_limit(who["manufacturer_id"], "data_exports")).remaining
    await foundation.rbac.increment_usage(who["manufacturer_id"], "data_exports", left)


async def test_a_retry_gets_its_first_answer_when_the_quota_is_gone(
    paid: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    who = await join()
    first = await post(http, who, {"a": 1}, path="/paid")
    await use_up(foundation, who)
    for _ in range(3):
        again = await post(http, who, {"a": 1}, path="/paid")
        assert (again.status_code, again.json()) == (201, first.json())
    new = await post(http, who, {"a": 1}, "k2", path="/paid")
    assert (new.status_code, new.json()["code"]) == (429, "QUOTA_EXCEEDED")
    other = await post(http, who, {"a": 2}, path="/paid")
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await foundation.rbac.get_current_usage(who["manufacturer_id"], "data_exports") == 50


async def test_a_kept_answer_is_no_way_around_the_quota(
    paid: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    """Neither by another path under the same key, nor in an application that keeps no answers."""
    own = FastAPI()
    ran: list[str] = []

    @own.post("/paid", status_code=201, dependencies=[Depends(requires(consumes="data_exports"))])
    async def other() -> None:
        ran.append("own")

    @paid.post("/paid/other", status_code=201, dependencies=[Depends(requires(consumes="data_exports"))])
    async def elsewhere() -> None:
        ran.append("elsewhere")

    install(own, foundation)
    who = await join()
    await post(http, who, {"a": 1}, path="/paid")
    await use_up(foundation, who)
    assert (await post(http, who, {"a": 1}, path="/paid/other")).status_code == 422
    async with httpx.AsyncClient(transport=httpx.ASGITransport(own), base_url="http://own") as client:
        assert (await post(client, who, {"a": 1}, path="/paid")).status_code == 429
    assert ran == []


async def test_a_retry_still_needs_credentials_permission_and_step_up(
    foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    """The answer may hold a key that is shown once: whoever may not make it any more may not read it either."""
    who = await join()
    first = await post(http, who, NEW_KEY)
    claims = await foundation.auth.validate_token(who["access_token"])
    foundation.clock.advance(foundation.settings.recent_mfa_seconds - 60)  # type: ignore[attr-defined]  # by hand
    assert (await post(http, who, NEW_KEY)).json() == first.json()
    foundation.clock.advance(120)  # type: ignore[attr-defined]  # turned by hand
    refresh = await foundation.auth.generate_manufacturer_token(
        {**claims, "account_id": who["account_id"], "session_id": who["session_id"]}
    )
    later = {**who, "headers": {"authorization": f"Bearer {refresh}"}}
    assert (await post(http, later, NEW_KEY)).json()["code"] == "MFA_REQUIRED"
    await foundation.auth.note_mfa(who["session_id"])
    assert (await post(http, later, NEW_KEY)).status_code == 201
    await foundation.auth.invalidate_session(who["session_id"])
    assert (await post(http, later, NEW_KEY)).status_code == 401


async def test_no_other_credential_finds_an_answer(
    paid: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    """Not another session of the same person, nor another key that the same person made."""
    who = await join()
    again = await foundation.auth.authenticate_manufacturer(who["email"], PASSWORD)
    await foundation.rbac.update_manufacturer_tier(who["manufacturer_id"], "professional", reason="test")
    keys = [
        await foundation.auth.create_api_key(
            who["manufacturer_id"], name, permissions=["export_data"], account_id=who["account_id"]
        )
        for name in ("one", "two")
    ]
    credentials = [
        who["headers"],
        {"authorization": f"Bearer {again.access_token}"},
        {"x-api-key": keys[0].key},
        {"x-api-key": keys[1].key},
    ]
    made = [(await post(http, {"headers": c}, {}, path="/paid")).json()["made"] for c in credentials]
    assert len(set(made)) == 4
    assert [(await post(http, {"headers": c}, {}, path="/paid")).json()["made"] for c in credentials] == made
    as_bearer = {"headers": {"authorization": f"Bearer {keys[0].key}"}}
    assert (await post(http, as_bearer, {}, path="/paid")).json()["made"] == made[2], "one key, however it is sent"


async def test_of_many_retries_at_the_end_of_the_quota_each_is_answered(
    paid: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    who = await join()
    await foundation.rbac.increment_usage(who["manufacturer_id"], "data_exports", 4)
    answers = await asyncio.gather(*(post(http, who, {}, path="/paid") for _ in range(10)))
    assert {a.status_code for a in answers} <= {201, 409, 429}
    made = [a.json()["made"] for a in answers if a.status_code == 201]
    assert made and len(set(made)) == 1
    assert (await post(http, who, {}, path="/paid")).json()["made"] == made[0]
    assert await foundation.rbac.get_current_usage(who["manufacturer_id"], "data_exports") == 5


async def test_a_long_answer_goes_out_and_is_not_kept(app: FastAPI, http: httpx.AsyncClient, join: Join) -> None:
    count = 0

    @app.post("/long", status_code=201, dependencies=[Depends(requires())])
    async def long() -> dict[str, Any]:
        nonlocal count
        count += 1
        return {"count": count, "text": "x" * 70_000}

    who = await join()
    assert [(await post(http, who, {}, path="/long")).json()["count"] for _ in range(2)] == [1, 2]


async def test_who_polls_is_told_that_nothing_has_changed(
    foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    who = await join()
    first = await http.get("/v1/usage", headers=who["headers"])
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        same = await http.get("/v1/usage", headers={**who["headers"], "if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (await http.get("/v1/usage", headers={**who["headers"], "if-none-match": '"other"'})).status_code == 200
    await foundation.rbac.increment_usage(who["manufacturer_id"], "api_calls")
    changed = await http.get("/v1/usage", headers={**who["headers"], "if-none-match": tag})
    assert changed.status_code == 200 and changed.headers["etag"] != tag
    assert "etag" not in (await http.get("/v1/usage")).headers, "a refusal has none"
    assert (await http.get("/.well-known/jwks.json")).headers["etag"]
