"""Paths: what is refused before any rule, and that rules and router mean the same route."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from hypothesis import assume, given, settings, strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Match, Mount, Route

from gatewright.controls import Measure
from gatewright.errors import ConfigurationError
from gatewright.foundation import SecurityFoundation
from gatewright.inspection_policy import InspectionPolicy, RouteInspection
from gatewright.rbac import ManufacturerContext
from gatewright.testing import ListSink
from gatewright.web import GatewrightMiddleware, PathRules, RouterRules, RouteRule, install, open_to_all, requires
from tests.web.conftest import Join

Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
def events(foundation: SecurityFoundation) -> ListSink:
    sink = ListSink()
    foundation.sink.add(sink)
    return sink


@pytest.fixture
async def over() -> AsyncIterator[Client]:
    """A client of an application behind the middleware."""
    opened: list[httpx.AsyncClient] = []

    def make(app: Any, **transport: Any) -> httpx.AsyncClient:
        opened.append(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False, **transport), base_url="http://test"
            )
        )
        return opened[-1]

    yield make
    for one in opened:
        await one.aclose()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that would run for any path."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def http_scope(path: str, method: str = "GET", root_path: str = "", host: str | None = None) -> dict[str, Any]:
    headers = [] if host is None else [(b"host", host.encode())]
    return {"type": "http", "method": method, "path": path, "root_path": root_path, "headers": headers}


def ws_scope(path: str, root_path: str = "") -> dict[str, Any]:
    return {"type": "websocket", "path": path, "root_path": root_path, "headers": []}


# --- what no path may be ----------------------------------------------------------------------------------------

CONTROLS = [*range(0x20), 0x7F, 0x80, 0x85, 0x9F]


@pytest.mark.parametrize("code", CONTROLS)
async def test_a_control_character_in_a_path_is_refused_before_any_rule(
    foundation: SecurityFoundation, over: Client, events: ListSink, code: int
) -> None:
    class Never:
        def resolve(self, scope: Any) -> RouteRule:
            raise AssertionError("a rule was looked for")

    http = over(GatewrightMiddleware(echo, foundation, Never()))
    encoded = "".join(f"%{byte:02x}" for byte in chr(code).encode())
    for path in (f"/x{encoded}", f"/{encoded}x", f"/a/{encoded}/b"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_PATH")
        assert answer.headers["content-type"] == "application/problem+json"
    shown = [event.data["path"] for event in events.events if event.kind == "web:request:refused"]
    assert len(shown) == 3 and all(chr(code) not in path for path in shown), "nor does it reach a log line"


async def test_a_route_is_not_reached_by_a_trailing_line_feed(foundation: SecurityFoundation, over: Client) -> None:
    """Starlette's own pattern for /open ends with ``$``, which also matches before a line feed."""
    own = FastAPI()

    @own.get("/open")
    async def route() -> dict[str, bool]:
        return {"ran": True}

    install(own, foundation)
    http = over(own)
    assert (await http.get("/open")).status_code == 200
    assert (await http.get("/open%0a")).status_code == 400
    assert (await http.get("/open%20")).status_code == 404, "a space is no control character"
    assert (await http.get("/open%C3%A9%E2%82%AC")).status_code == 404


async def test_a_websocket_with_a_control_character_is_closed(foundation: SecurityFoundation) -> None:
    protected = GatewrightMiddleware(echo, foundation, PathRules(default=RouteRule()))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await protected({**ws_scope("/live\n"), "query_string": b"", "client": ("192.0.2.1", 1)}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "INVALID_PATH"}]


async def test_a_path_has_a_longest_length(foundation: SecurityFoundation, over: Client) -> None:
    http = over(GatewrightMiddleware(echo, foundation, PathRules(default=RouteRule(inspection="off"))))
    assert (await http.get("/" + "a" * 4_095)).status_code == 200
    answer = await http.get("/" + "a" * 4_096)
    assert (answer.status_code, answer.json()["code"]) == (414, "PATH_TOO_LONG")


# --- what is not declared ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/other"),
        ("POST", "/products"),
        ("FOO", "/products"),
        ("WEBSOCKET", "/products"),
        ("GET", "/products/"),
        ("GET", "//products"),
        ("GET", "/Products"),
        ("GET", "/products/1/../.."),
        ("GET", "/products%2f1%2fx"),
        ("GET", "/items/x"),
        ("GET", "/items/-1"),
        ("GET", "/items/%D9%A1"),
        ("GET", "/"),
    ],
)
async def test_a_route_that_no_rule_covers_is_refused(
    foundation: SecurityFoundation, over: Client, join: Join, method: str, path: str
) -> None:
    open_route = RouteRule(auth="none")
    rules = PathRules(
        [
            ("GET", "/products", open_route),
            ("GET", "/products/{id}", open_route),
            ("GET", "/items/{id:int}", open_route),
        ]
    )
    http, owner = over(GatewrightMiddleware(echo, foundation, rules)), await join()
    assert (await http.get("/products")).status_code == 200
    assert (await http.get("/items/7")).status_code == 200
    assert (await http.head("/products")).status_code == 200
    for headers in ({}, owner["headers"]):
        answer = await http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "ROUTE_NOT_DECLARED"), "whoever asks"


async def test_what_is_refused_undeclared_is_counted(foundation: SecurityFoundation, over: Client) -> None:
    http = over(GatewrightMiddleware(echo, foundation, PathRules()))
    codes = {(await http.get(f"/{number}")).status_code for number in range(301)}
    assert codes == {403, 429}


def test_the_middleware_does_not_start_without_rules(foundation: SecurityFoundation) -> None:
    with pytest.raises(ConfigurationError, match="no rules"):
        GatewrightMiddleware(echo, foundation)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "products",
        "/x/{id",
        "/x/{}",
        "/x/{1}",
        "/x/{id:nosuch}",
        "/x/*/y",
        "/x/**",
        "/x/{a:path}/y/{b:path}/z",
        "/x/{a}{b}{c}",
        "/x/{a:path}/{b}.{c}",
    ],
)
def test_a_pattern_that_cannot_match_or_takes_long_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="path pattern"):
        PathRules([("GET", pattern, RouteRule())])


@pytest.mark.parametrize("route", ["/*/*/x", "/a/*/b/*/c", "/***"])
def test_a_policy_may_not_name_a_route_that_takes_long_to_match(route: str) -> None:
    assert [fault for _, fault, _ in InspectionPolicy(routes=(RouteInspection(route=route, mode="off"),)).faults()]
    usual = InspectionPolicy(routes=(RouteInspection(route="GET /a/*/b/*", mode="off"),))
    assert not list(usual.faults())


# --- rule and router --------------------------------------------------------------------------------------------

TEMPLATES = [
    "/",
    "/a",
    "/a/",
    "/a/{x}",
    "/a/{x}/",
    "/a/{x}/b",
    "/n/{x:int}",
    "/f/{x:float}",
    "/u/{x:uuid}",
    "/p/{x:path}",
    "/p/{x:path}/b",
    "/d/{x}.{y}",
    "/q.r+(s)",
    "/A",
    "/é",
]
PIECES = ["a", "b", "A", "n", "f", "u", "p", "d", "é", "1", "007", "1.5", "-1", "x.y", ".", "..", "%2f", "%0a", " "]
PIECES += ["٣", "", "q.r+(s)", "qxr+(s)", "api", "7c9e6679-7425-40de-944b-e07fc1f90ae7"]

paths = st.lists(st.sampled_from(PIECES), max_size=5).map(lambda parts: "/" + "/".join(parts))
roots = st.sampled_from(["", "/api", "/a", "/a/", "/"])


@st.composite
def near(draw: st.DrawFn) -> tuple[str, str, str]:
    """A template, a path that fits it or nearly does, and a root path."""
    template, root = draw(st.sampled_from(TEMPLATES)), draw(roots)
    part = st.sampled_from(PIECES) | st.text(max_size=3)
    path = re.sub(r"\{[^}]*\}", lambda _: "/".join(draw(st.lists(part, min_size=1, max_size=2))), template)
    path = draw(st.sampled_from([path, path, path + "/", path.rstrip("/"), path.swapcase(), "/" + path, path + "x"]))
    return template, draw(st.sampled_from(["", "", root, "/api"])) + path, root


@given(near(), st.sampled_from(["GET", "GET", "HEAD", "POST", "get"]))
@settings(max_examples=500)
def test_a_rule_covers_exactly_what_the_router_routes(case: tuple[str, str, str], method: str) -> None:
    template, path, root = case
    assume(not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in path))  # refused before any rule
    scope = http_scope(path, method, root)
    route = Route(template, lambda request: PlainTextResponse(""), methods=["GET"])
    rules = PathRules([("GET", template, RouteRule(auth="required"))])
    assert (rules.resolve(scope).auth == "required") == (route.matches(scope)[0] is Match.FULL)


@given(paths, roots)
def test_a_star_covers_what_a_mount_is_given(path: str, root: str) -> None:
    scope = http_scope(path, "GET", root)
    rules = PathRules([("*", "/a/*", RouteRule(auth="required"))])
    assert (rules.resolve(scope).auth == "required") == (Mount("/a", app=echo).matches(scope)[0] is Match.FULL)


def test_a_websocket_has_rules_of_its_own() -> None:
    rules = PathRules([("GET", "/live", RouteRule(auth="none")), ("WEBSOCKET", "/live", RouteRule(auth="required"))])
    assert rules.resolve(ws_scope("/live")).auth == "required"
    assert rules.resolve(http_scope("/live")).auth == "none"
    only_get = PathRules([("GET", "/live", RouteRule(auth="optional"))], default=RouteRule(auth="required"))
    assert only_get.resolve(ws_scope("/live")).auth == "required"
    only_ws = PathRules([("WEBSOCKET", "/live", RouteRule(auth="optional"))], default=RouteRule(auth="required"))
    assert only_ws.resolve(http_scope("/live", "WEBSOCKET")).auth == "required", "an HTTP method of a stranger's own"


# --- what rules are remembered by -------------------------------------------------------------------------------

Owner = Annotated[ManufacturerContext, Depends(requires("bulk_operations"))]


def with_rule(rule: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/x", dependencies=[Depends(rule)])
    async def route() -> None:
        return None

    return app


def test_a_rule_of_one_host_never_serves_another() -> None:
    app = Starlette(
        routes=[
            Host("open.example", app=with_rule(open_to_all())),
            Host("{tenant}.closed.example", app=with_rule(requires("bulk_operations"))),
            Mount("/", app=with_rule(requires())),
        ]
    )
    rules = RouterRules(app)
    for _ in range(2):
        for host in ("open.example", "a.closed.example", "OPEN.EXAMPLE:8000", "other.example", "open.example@x", None):
            rule = rules.resolve(http_scope("/x", host=host))
            named = (host or "").lower()
            assert (rule.auth == "none") == named.startswith("open.example") * ("@" not in named), host
            assert (rule.permission == "bulk_operations") == named.endswith("closed.example"), host


def test_a_rule_of_one_host_inside_an_included_router_neither() -> None:
    inner = APIRouter()
    inner.routes.append(Host("open.example", app=with_rule(open_to_all())))
    app = FastAPI()
    app.include_router(inner)

    @app.get("/x")
    async def route(caller: Owner) -> None:
        return None

    rules = RouterRules(app)
    for _ in range(2):
        assert rules.resolve(http_scope("/x", host="open.example")).auth == "none"
        assert rules.resolve(http_scope("/x", host="other.example")).permission == "bulk_operations"


def test_a_rule_of_one_root_path_never_serves_another() -> None:
    app = FastAPI()

    @app.get("/x")
    async def open_route() -> None:
        return None

    @app.get("/api/x")
    async def closed(caller: Owner) -> None:
        return None

    rules = RouterRules(app)
    for _ in range(2):
        assert rules.resolve(http_scope("/api/x", root_path="/api")).permission is None
        assert rules.resolve(http_scope("/api/x")).permission == "bulk_operations"
        assert rules.resolve(http_scope("/x")).permission is None


def test_a_rule_of_http_never_serves_a_websocket() -> None:
    app, router = FastAPI(), APIRouter(prefix="/v1")

    @app.get("/live", dependencies=[Depends(open_to_all())])
    async def page() -> None:
        return None

    @app.websocket("/live", dependencies=[Depends(requires())])
    async def live(socket: WebSocket) -> None:
        return None

    @router.websocket("/live", dependencies=[Depends(requires("bulk_operations"))])
    async def included(socket: WebSocket) -> None:
        return None

    app.include_router(router)
    rules = RouterRules(app)
    for _ in range(2):
        assert rules.resolve({**http_scope("/live"), "method": ""}).auth == "optional"
        assert rules.resolve(ws_scope("/live")).auth == "required"
        assert rules.resolve(http_scope("/live")).auth == "none"
        assert rules.resolve(ws_scope("/v1/live")).permission == "bulk_operations"


class ByVersion(Route):
    """A route of an application's own, chosen by a header."""

    def matches(self, scope: Any) -> Any:
        copy = dict(scope)
        if (b"x-version", b"2") not in copy["headers"]:
            return Match.NONE, {}
        return super().matches(scope)


class ByItems(Route):
    """One that goes through the scope."""

    def matches(self, scope: Any) -> Any:
        found = [value for name, value in scope.items() if name == "headers"]
        return super().matches(scope) if (b"x-version", b"2") in found[0] else (Match.NONE, {})


class BySearch(Route):
    """Another, chosen by the query."""

    def matches(self, scope: Any) -> Any:
        return super().matches(scope) if Request(scope).query_params.get("v") == "2" else (Match.NONE, {})


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        (ByVersion, {"headers": [(b"x-version", b"2")]}),
        (ByItems, {"headers": [(b"x-version", b"2")]}),
        (BySearch, {"query_string": b"v=2"}),
    ],
)
def test_what_a_route_of_ones_own_looks_at_is_not_remembered(kind: type[Route], chosen: dict[str, Any]) -> None:
    app = with_rule(requires("bulk_operations"))
    app.router.routes.insert(0, kind("/x", lambda request: PlainTextResponse("")))
    rules = RouterRules(app)
    for _ in range(2):
        scope = {**http_scope("/x"), "query_string": b""}
        assert rules.resolve(scope).permission == "bulk_operations"
        assert rules.resolve({**scope, **chosen}).permission is None


def test_what_the_path_decides_is_remembered_within_bounds() -> None:
    asked: list[str] = []
    app = with_rule(requires("bulk_operations"))
    app.include_router(APIRouter())
    app.mount("/sub", with_rule(requires()))

    class Counting(Route):
        def matches(self, scope: Any) -> Any:
            asked.append(scope["path"])
            return super().matches(scope)

    app.router.routes.insert(0, Counting("/never", lambda request: PlainTextResponse("")))
    rules = RouterRules(app, size=10)
    for path in ("/x", "/sub/x", "/unknown"):
        assert rules.resolve(http_scope(path)) is rules.resolve(http_scope(path))
        assert asked.count(path) == 1, "one look at the router for both"
    long = "/" + "a" * 600
    rules.resolve(http_scope(long))
    rules.resolve(http_scope(long))
    assert asked.count(long) == 2, "strangers cannot fill the memory with long paths"
    for number in range(10):
        rules.resolve(http_scope(f"/{number}"))
    rules.resolve(http_scope("/x"))
    assert asked.count("/x") == 2, "the oldest is forgotten"


def test_resolving_leaves_the_scope_as_it_was() -> None:
    scope = http_scope("/sub/x")
    before = dict(scope)
    app = FastAPI()
    app.include_router(APIRouter())
    app.mount("/sub", with_rule(requires()))
    RouterRules(app).resolve(scope)
    assert scope == before


# --- the name of a rule -----------------------------------------------------------------------------------------


@pytest.fixture
def products(foundation: SecurityFoundation) -> FastAPI:
    """An application whose routes have no names."""
    app, router, sub = FastAPI(), APIRouter(prefix="/v1/{tenant}"), FastAPI()

    @app.get("/products/{id:int}")
    async def one(id: int, caller: Annotated[ManufacturerContext, Depends(requires())]) -> None:
        return None

    @app.post("/products/{id}")
    async def change(id: str, caller: Owner) -> None:
        return None

    @router.post("/images/{rest:path}")
    async def image(
        caller: Annotated[ManufacturerContext, Depends(requires(consumes={"data_exports": 6}))],
    ) -> None:
        return None

    @router.websocket("/live")
    async def live(socket: WebSocket) -> None:
        return None

    @sub.get("/y")
    async def y(caller: Owner) -> None:
        return None

    @app.get("/named", dependencies=[Depends(open_to_all(name="probe"))])
    async def named() -> None:
        return None

    @app.get("/plain/{x}")
    async def plain(x: str) -> None:
        return None

    app.include_router(router)
    app.mount("/sub/{shop}", sub)
    install(app, foundation)
    return app


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (http_scope("/products/7"), "GET /products/{id}"),
        (http_scope("/products/7", root_path="/products"), None),
        (http_scope("/api/products/7", root_path="/api"), "GET /products/{id}"),
        (http_scope("/products/x", "POST"), "POST /products/{id}"),
        (http_scope("/v1/t/images/a/b", "POST"), "POST /v1/{tenant}/images/{rest}"),
        (ws_scope("/v1/t/live"), "WEBSOCKET /v1/{tenant}/live"),
        (http_scope("/sub/s/y"), "GET /sub/{shop}/y"),
        (http_scope("/named"), "probe"),
        (http_scope("/plain/x"), "GET /plain/{x}"),
        (http_scope("/plain/x", "FOO"), None),
        (http_scope("/unknown"), None),
    ],
)
def test_a_rule_is_named_after_its_route(products: FastAPI, scope: dict[str, Any], name: str | None) -> None:
    rules = RouterRules(products)
    assert rules.resolve(scope).name == name
    assert rules.resolve(scope).name == name


def test_a_rule_by_path_is_named_after_its_pattern() -> None:
    shared = RouteRule(auth="required")
    rules = PathRules(
        [
            ("post", "/a/{x}", shared),
            ("*", "/b/*", shared),
            ("GET", "/c", RouteRule(name="mine")),
            ("GET", "/d", shared),
            ("HEAD", "/e", shared),
        ]
    )
    names = [
        rules.resolve(http_scope(path, method)).name
        for path, method in [
            ("/a/1", "POST"),
            ("/b/1", "PUT"),
            ("/c", "GET"),
            ("/d", "GET"),
            ("/d", "HEAD"),
            ("/e", "HEAD"),
        ]
    ]
    assert names == ["POST /a/{x}", "/b/*", "mine", "GET /d", "GET /d", "GET /e"]
    assert rules.resolve(http_scope("/z")).name is None


async def test_a_measure_by_route_is_in_force_at_a_route_without_a_name(
    products: FastAPI, foundation: SecurityFoundation, over: Client, join: Join
) -> None:
    http, owner = over(products), await join(tier="enterprise")
    weak = {"q": "{{x}}"}  # found from level 2 on
    for level, codes in ((1, {200}), (4, {403})):
        foundation.controls.apply(
            Measure(
                measure_id="m",
                kind="detection_level",
                target="GET /products/{id}",
                value=level,
                created_at=foundation.clock.now(),
            )
        )
        found = {(await http.get("/products/7", params=weak, headers=owner["headers"])).status_code}
        assert found == codes
        assert (await http.post("/products/7", params=weak, headers=owner["headers"])).status_code == 200


async def test_denials_and_the_audit_log_name_the_route(
    products: FastAPI, foundation: SecurityFoundation, over: Client, join: Join, events: ListSink
) -> None:
    http, owner = over(products), await join()
    assert (await http.post("/products/secret-7", headers=owner["headers"])).status_code == 403
    (violation,) = await foundation.rbac.get_permission_violations(owner["manufacturer_id"])
    assert violation.operation_context == "POST /products/{id}"
    assert (await http.post("/v1/t/images/a/b", headers=owner["headers"])).status_code == 429
    denied = next(event for event in events.events if event.kind.startswith("rbac:quota"))
    assert denied.data["operation_context"] == "POST /v1/{tenant}/images/{rest}"
    refused = [event.data["route"] for event in events.events if event.kind == "web:request:refused"]
    assert refused == ["POST /products/{id}", "POST /v1/{tenant}/images/{rest}"]
    assert (await http.get("/products/7?q=' OR 1=1 --", headers=owner["headers"])).status_code == 403
    blocked = next(event for event in events.events if event.kind == "threats:request:blocked")
    assert blocked.data["route"] == "GET /products/{id}"
    assert (await http.get("/products/7", headers=owner["headers"])).status_code == 200
    assert events.events[-1].data["route"] == "GET /products/{id}"
