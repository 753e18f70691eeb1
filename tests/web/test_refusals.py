"""Refusals cost the caller, not us: what a flood may look up, store and get back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from gatewright.auth import new_key
from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings
from gatewright.storage import Rate, SqliteStore, StoredApiKey, StoredSession, ThrottleResult
from gatewright.testing import ManualClock
from gatewright.web import AT_ONCE, GatewrightMiddleware, PathRules, RouteRule, requires
from tests.web.conftest import Join

ALLOWED = 300
"""Anonymous requests of one network in a minute, by the policy that ships."""


class CountingStore(SqliteStore):
    """The embedded store, which counts what is looked up for credentials."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    async def get_api_key(self, key_id: str) -> StoredApiKey | None:
        self.asked["api_key"] += 1
        return await super().get_api_key(key_id)

    async def get_session(self, session_id: str) -> StoredSession | None:
        self.asked["session"] += 1
        return await super().get_session(session_id)

    async def throttle(self, key: str, rate: Rate, *, cost: int = 1) -> ThrottleResult:
        return await super().throttle(key, rate, cost=cost)


@pytest.fixture
async def store() -> AsyncIterator[CountingStore]:
    made = CountingStore()
    await made.initialize()
    yield made
    await made.close()


@pytest.fixture
async def foundation(store: CountingStore) -> AsyncIterator[SecurityFoundation]:
    settings = Settings(database=":memory:", argon2_memory_kib=8, argon2_time_cost=1)
    async with SecurityFoundation(settings, store=store, notifier=MemoryNotifier(), clock=ManualClock()) as opened:
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def api_key() -> dict[str, str]:
    return {"x-api-key": new_key()[2]}


def cookie() -> dict[str, str]:
    return {"cookie": f"__Host-gatewright={new_key()[1]}.{new_key()[1]}"}


def junk() -> dict[str, str]:
    return bearer(f"{new_key()[1]}.{new_key()[1]}.{new_key()[1]}")


def from_(app: FastAPI, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def audit_rows(foundation: SecurityFoundation) -> list[Any]:
    return list(await foundation.monitor.audit.search(limit=1000))


# --- the network is charged before credentials are looked at ---------------------------------------------------------


@pytest.mark.parametrize("credential", [api_key, cookie], ids=["api key", "cookie"])
async def test_a_flood_of_bad_credentials_costs_no_look_up_after_its_allowance(
    http: httpx.AsyncClient, store: CountingStore, credential: Callable[[], dict[str, str]]
) -> None:
    statuses = Counter([(await http.get("/v1/me", headers=credential())).status_code for _ in range(ALLOWED + 200)])
    assert statuses == {401: ALLOWED, 429: 200}
    assert sum(store.asked.values()) <= ALLOWED + 1


async def test_a_flood_of_many_at_once_costs_little_more_than_its_allowance(
    http: httpx.AsyncClient, store: CountingStore
) -> None:
    for _ in range(4):
        await asyncio.gather(*(http.get("/v1/me", headers=api_key()) for _ in range(200)))
    assert store.asked["api_key"] <= ALLOWED + AT_ONCE


@pytest.mark.parametrize("credential", [junk, lambda: {}], ids=["bad token", "none"])
async def test_a_flood_that_never_says_who_it_is_ends_in_429(
    http: httpx.AsyncClient, credential: Callable[[], dict[str, str]]
) -> None:
    statuses = [(await http.get("/v1/me", headers=credential())).status_code for _ in range(ALLOWED + 5)]
    assert statuses == [401] * ALLOWED + [429] * 5
    last = await http.get("/v1/me", headers=credential())
    assert last.json()["code"] == "RATE_LIMIT_EXCEEDED" and int(last.headers["retry-after"]) >= 1
    assert last.headers["ratelimit"].startswith('"anonymous_request";r=0')


async def test_requests_refused_for_their_form_are_counted_too(http: httpx.AsyncClient) -> None:
    many = [(f"x-h{n}".encode(), b"1") for n in range(150)]
    statuses = Counter([(await http.get("/healthz", headers=many)).status_code for _ in range(ALLOWED + 5)])
    assert statuses == {431: ALLOWED, 429: 5}


async def test_a_good_client_keeps_working_beside_an_attacker(
    app: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join
) -> None:
    """Same network: tokens continue, new ones of the same service too; so do keys that were accepted before."""
    who = await join("professional")
    made = await foundation.auth.create_api_key(
        who["manufacturer_id"], "server", permissions=["upload_products"], account_id=who["account_id"]
    )
    key = {"x-api-key": made.key}
    assert (await http.get("/v1/usage", headers=key)).status_code == 200
    assert (await http.get("/v1/me", headers=who["headers"])).status_code == 200
    for _ in range(ALLOWED + 1):
        await http.get("/v1/me", headers=junk())
    assert (await http.get("/v1/me", headers=junk())).status_code == 429
    fresh = await join()
    for headers in (key, who["headers"], fresh["headers"]):
        assert (await http.get("/v1/usage", headers=headers)).status_code == 200
    async with from_(app, "203.0.113.9") as elsewhere:
        assert (await elsewhere.get("/v1/me", headers=junk())).status_code == 401


async def test_a_token_that_was_ended_is_refused_once_and_then_unread(
    foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join, store: CountingStore
) -> None:
    who = await join()
    assert (await http.get("/v1/me", headers=who["headers"])).status_code == 200
    await foundation.auth.invalidate_session(who["session_id"])
    for _ in range(ALLOWED):
        assert (await http.get("/v1/me", headers=who["headers"])).status_code == 401
    assert (await http.get("/v1/me", headers=who["headers"])).status_code == 429
    before = store.asked["session"]
    for _ in range(50):
        assert (await http.get("/v1/me", headers=who["headers"])).status_code == 429
    assert store.asked["session"] == before


async def test_a_good_client_pays_nothing_to_its_network(http: httpx.AsyncClient, join: Join) -> None:
    who = await join()
    for _ in range(ALLOWED + 20):
        assert (await http.get("/v1/me", headers=who["headers"])).status_code == 200
    assert (await http.get("/v1/me")).headers["ratelimit"].startswith(f'"anonymous_request";r={ALLOWED - 1}')


async def test_the_allowance_comes_back(foundation: SecurityFoundation, http: httpx.AsyncClient) -> None:
    for _ in range(ALLOWED + 1):
        last = await http.get("/v1/me", headers=api_key())
    assert last.status_code == 429
    foundation.clock.advance(61)  # type: ignore[attr-defined]  # turned by hand
    assert (await http.get("/v1/me", headers=api_key())).status_code == 401


async def test_a_new_ipv6_network_is_no_new_allowance(app: FastAPI) -> None:
    statuses: Counter[int] = Counter()
    for number in range(5):
        async with from_(app, f"2001:db8:5:{number}::1") as one:
            for _ in range(ALLOWED):
                statuses[(await one.get("/v1/me")).status_code] += 1
    assert statuses == {401: 4 * ALLOWED, 429: ALLOWED}


async def test_probes_are_never_counted(http: httpx.AsyncClient) -> None:
    for _ in range(ALLOWED + 1):
        await http.get("/v1/me")
    assert (await http.get("/healthz")).status_code == 200


async def test_a_probe_that_asks_for_a_caller_gets_one(foundation: SecurityFoundation, join: Join) -> None:
    async def empty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    protected = GatewrightMiddleware(empty, foundation, PathRules(default=RouteRule(auth="required", name="probe")))
    who = await join()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(protected), base_url="http://test") as client:
        assert (await client.get("/")).status_code == 401
        assert (await client.get("/", headers=junk())).status_code == 401
        assert (await client.get("/", headers=who["headers"])).status_code == 204


# --- the audit log -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "credential"),
    [
        ("/v1/me", dict),
        ("/v1/me", junk),
        ("/v1/me", api_key),
        ("/nowhere", dict),
        ("/v1/me?q=%3Cscript%3Ealert(1)", dict),
    ],
    ids=["no credentials", "bad token", "bad key", "unknown path", "attack"],
)
async def test_1500_anonymous_requests_leave_few_rows(
    foundation: SecurityFoundation, http: httpx.AsyncClient, path: str, credential: Callable[[], dict[str, str]]
) -> None:
    before = len(await audit_rows(foundation))
    for _ in range(15):
        await asyncio.gather(*(http.get(path, headers=credential()) for _ in range(100)))
        foundation.clock.advance(10)  # type: ignore[attr-defined]  # turned by hand
    left = (await audit_rows(foundation))[: len(await audit_rows(foundation)) - before]
    assert 2 <= len(left) <= 48
    foundation.clock.advance(61)  # type: ignore[attr-defined]  # turned by hand
    await http.get("/v1/me")
    every = [e for e in await audit_rows(foundation) if e.kind in ("web:request:refused", "web:request:served")]
    assert sum(e.data.get("count", 1) for e in every) == 1501, "and each is counted"
    assert (await foundation.monitor.audit.verify()).valid


async def test_violations_keep_the_newest_and_no_more(
    app: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join, store: CountingStore
) -> None:
    @app.post("/bulk", dependencies=[Depends(requires("bulk_operations"))])
    async def bulk() -> None:
        return None

    who = await join()
    for _ in range(450):
        assert (await http.post("/bulk", headers=who["headers"])).status_code == 403
    rows = await store.engine.read(lambda c: c.execute("SELECT count(*) FROM permission_violations").fetchone())
    assert rows[0] == 100, "of one minute"
    for _ in range(14):
        foundation.clock.advance(61)  # type: ignore[attr-defined]  # turned by hand
        token = await foundation.auth.generate_manufacturer_token(
            {"manufacturer_id": who["manufacturer_id"], "company_name": "C", "email": who["email"], "tier": "free"}
        )
        for _ in range(110):
            assert (await http.post("/bulk", headers=bearer(token))).status_code == 403
    rows = await store.engine.read(lambda c: c.execute("SELECT count(*) FROM permission_violations").fetchone())
    assert rows[0] == 1_000, "of all time"
    found = await foundation.rbac.get_permission_violations(who["manufacturer_id"])
    assert found[0].timestamp == foundation.clock.now()


# --- who pays for a 422 ---------------------------------------------------------------------------------------------


class Item(BaseModel):
    name: str


@pytest.fixture
def paid(app: FastAPI) -> FastAPI:
    rule = [Depends(requires("upload_products", consumes="product_uploads"))]

    @app.post("/items", dependencies=rule)
    async def items(item: Item) -> dict[str, str]:
        return {"made": item.name}

    @app.post("/items/by-hand", dependencies=rule)
    async def by_hand(item: Item) -> None:
        raise HTTPException(422, "no such material")

    @app.post("/items/returned", dependencies=rule)
    async def returned(item: Item) -> Response:
        return Response(status_code=422)

    @app.post("/items/raised", dependencies=rule)
    async def raised(item: Item) -> None:
        raise RequestValidationError([{"loc": ("body", "name"), "msg": "too long", "type": "own"}])

    @app.post("/items/nested", dependencies=rule)
    async def nested(item: Item) -> None:
        Item.model_validate({})

    return app


@pytest.mark.parametrize("body", [b"{}", b'{"name": 3}', b"[]", b'"x"', b""])
async def test_what_validation_refused_before_it_ran_is_given_back(
    paid: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join, body: bytes
) -> None:
    who = await join()
    headers = {**who["headers"], "content-type": "application/json"}
    answer = await http.post("/items", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED")
    assert await foundation.rbac.get_current_usage(who["manufacturer_id"], "product_uploads") == 0


@pytest.mark.parametrize("path", ["by-hand", "returned", "raised"])
async def test_a_422_of_an_endpoint_that_ran_is_paid_for(
    paid: FastAPI, foundation: SecurityFoundation, http: httpx.AsyncClient, join: Join, path: str
) -> None:
    who = await join()
    answer = await http.post(f"/items/{path}", json={"name": "chair"}, headers=who["headers"])
    assert answer.status_code == 422
    assert await foundation.rbac.get_current_usage(who["manufacturer_id"], "product_uploads") == 1


# --- security headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/healthz", "/openapi.json", "/.well-known/jwks.json", "/v1/me", "/nowhere", "/metrics"]
)
async def test_every_answer_has_its_security_headers(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if "json" in answer.headers["content-type"]:
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
    if answer.status_code >= 400:
        assert answer.headers["cache-control"] == "no-store"


async def test_what_an_application_set_itself_stays(app: FastAPI, http: httpx.AsyncClient) -> None:
    @app.get("/page")
    async def page() -> Response:
        own = {"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff"}
        return Response("<p>Hello</p>", headers=own, media_type="text/html")

    @app.get("/data")
    async def data() -> Response:
        return Response("{}", headers={"Referrer-Policy": "same-origin"}, media_type="application/json; charset=utf-8")

    page_answer, data_answer = await http.get("/page"), await http.get("/data")
    assert page_answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert page_answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert "referrer-policy" not in page_answer.headers
    assert data_answer.headers.get_list("referrer-policy") == ["same-origin"]
    assert data_answer.headers["content-security-policy"].startswith("default-src 'none'")
