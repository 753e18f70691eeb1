"""Risk of a session: the signals one by one, the score, and what policy does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gatewright.auth import (
    AuthDependencies,
    AuthOptions,
    ClientInfo,
    GeoIP2FastPlaces,
    ManufacturerAuthManager,
    Place,
    RiskAction,
    RiskPolicy,
    SessionRisk,
    client_info,
    distance_between,
    network_key,
    read_agent,
    same_client_key,
    travel_speed,
)
from gatewright.errors import ConfigurationError, MFARequiredError, SessionHijackError
from gatewright.testing import ListSink, ManualClock
from tests.auth.identity import (
    ACME,
    CHROME,
    ELSEWHERE,
    HOME,
    NEIGHBOUR,
    NEWER_CHROME,
    OLDER_CHROME,
    SAFARI,
    SECRET,
    START,
    sign_in,
)

BOUND = {**ACME, "ip_address": HOME.ip_address, "user_agent": HOME.user_agent}
BERLIN = Place(country="DE", provider="One Telecom", latitude=52.52, longitude=13.4)
HAMBURG = Place(country="DE", provider="Two Telecom", latitude=53.55, longitude=10.0)
SYDNEY = Place(country="AU", provider="Three Telecom", latitude=-33.87, longitude=151.2)


class Atlas:
    """Offline data about three networks."""

    def place_of(self, ip_address: str) -> Place | None:
        return {"203.0.113.9": BERLIN, "198.51.100.7": SYDNEY, "192.0.2.1": HAMBURG}.get(ip_address)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
async def auth(clock: ManualClock, sink: ListSink) -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET, clock=clock, sink=sink) as manager:
        yield manager


@pytest.fixture
async def located(clock: ManualClock) -> AsyncIterator[ManufacturerAuthManager]:
    async with ManufacturerAuthManager(SECRET, clock=clock, dependencies=AuthDependencies(places=Atlas())) as manager:
        yield manager


def names(risk: SessionRisk) -> set[str]:
    return {signal.name for signal in risk.signals}


@pytest.mark.parametrize(
    ("client", "hijacked"),
    [
        (HOME, False),
        (NEIGHBOUR, False),
        (ClientInfo(HOME.ip_address, NEWER_CHROME), False),
        (ClientInfo(HOME.ip_address, None), False),
        (ClientInfo(None, CHROME), False),
        (ClientInfo("::ffff:203.0.113.77", CHROME), False),
        (ClientInfo("203.0.114.9", CHROME), True),
        (ClientInfo("2001:db8::1", CHROME), True),
        (ClientInfo("not an address", CHROME), True),
        (ClientInfo(HOME.ip_address, SAFARI), True),
        (ClientInfo(HOME.ip_address, CHROME.replace("Windows NT 10.0; Win64; x64", "X11; Linux x86_64")), True),
        (ClientInfo(HOME.ip_address, "curl/8.5.0"), True),
        (ClientInfo(HOME.ip_address, ""), True),
    ],
)
async def test_what_looks_hijacked(auth: ManufacturerAuthManager, client: ClientInfo, hijacked: bool) -> None:
    """Network, family, platform; a new version or a neighboring address is no reason. It only reports."""
    session = await auth.create_session(BOUND)
    assert await auth.detect_session_hijacking(session.session_id, client) is hijacked
    assert await auth.validate_session(session.session_id)


async def test_ipv6_networks(auth: ManufacturerAuthManager) -> None:
    """The /64 is the network; privacy addresses change within it."""
    session = await auth.create_session({**BOUND, "ip_address": "2001:db8:1:2::1"})
    same, other = ClientInfo("2001:db8:1:2:ffff::9", CHROME), ClientInfo("2001:db8:1:3::1", CHROME)
    assert not await auth.detect_session_hijacking(session.session_id, same)
    assert await auth.detect_session_hijacking(session.session_id, other)


@pytest.mark.parametrize(
    ("client", "expected", "action"),
    [
        (HOME, set(), "none"),
        (ClientInfo(HOME.ip_address, NEWER_CHROME), set(), "none"),
        (ClientInfo(HOME.ip_address, OLDER_CHROME), {"version_downgrade"}, "note"),
        (ClientInfo("198.51.100.7", CHROME), {"network"}, "note"),
        (ClientInfo("198.51.100.7", NEWER_CHROME), {"network"}, "note"),
        (ClientInfo(HOME.ip_address, "curl/8.5.0"), {"agent_family", "platform"}, "require_mfa"),
        (ELSEWHERE, {"network", "agent_family", "platform"}, "require_mfa"),
    ],
)
async def test_signals(auth: ManufacturerAuthManager, client: ClientInfo, expected: set[str], action: str) -> None:
    session = await auth.create_session(BOUND)
    risk = await auth.assess_session_risk(session.session_id, client)
    assert names(risk) == expected and risk.action == action
    assert 0 <= risk.score <= 1 and (risk.score > 0) == bool(expected)
    assert all(0 < signal.weight < 1 and signal.detail for signal in risk.signals)


async def test_signals_of_place(located: ManufacturerAuthManager, clock: ManualClock) -> None:
    """Provider and country, and travel that no one can make; in time it becomes possible."""
    session = await located.create_session(BOUND)
    clock.advance(hours=1)
    near = await located.assess_session_risk(session.session_id, ClientInfo("192.0.2.1", CHROME))
    assert names(near) == {"network", "provider"}
    unknown = await located.assess_session_risk(session.session_id, ClientInfo("192.0.2.200", CHROME))
    assert names(unknown) == {"network"}
    session = await located.create_session(BOUND)
    clock.advance(days=2)
    session = await located.create_session(BOUND)
    clock.advance(hours=20)
    possible = await located.assess_session_risk(session.session_id, ClientInfo("198.51.100.7", CHROME))
    assert names(possible) == {"network", "provider", "country"}
    session = await located.create_session(BOUND)
    clock.advance(hours=2)
    far = await located.assess_session_risk(session.session_id, ClientInfo("198.51.100.7", CHROME))
    assert names(far) == {"network", "provider", "country", "impossible_travel"}
    assert far.action == "end" and not await located.validate_session(session.session_id)
    info = await located.get_session_info(session.session_id)
    assert info and info.ended_reason == "hijack_suspected" and info.place == "DE"


async def test_what_policy_does(auth: ManufacturerAuthManager, sink: ListSink) -> None:
    """Noted only, made to show a factor again, ended; and told each time."""
    session = await auth.create_session(BOUND)
    await auth.sessions.note_mfa(session.session_id)
    await auth.assess_session_risk(session.session_id, ClientInfo("198.51.100.7", CHROME))
    await auth.require_recent_mfa(session.session_id)
    await auth.assess_session_risk(session.session_id, ELSEWHERE)
    assert await auth.validate_session(session.session_id)
    with pytest.raises(MFARequiredError):
        await auth.require_recent_mfa(session.session_id)
    told = [(event.severity, event.data["action"]) for event in sink.events if event.kind == "auth:session:risky"]
    assert told == [("notice", "note"), ("high", "require_mfa")]
    assert (await auth.assess_session_risk("unknown", HOME)).score == 0


async def test_a_theft_ends_the_session_at_refresh(located: ManufacturerAuthManager, clock: ManualClock) -> None:
    """A stolen refresh token used from the other side of the world, first."""
    result = await sign_in(located)
    clock.advance(hours=1)
    with pytest.raises(SessionHijackError):
        await located.refresh_tokens(result.refresh_token or "", client=ELSEWHERE)
    assert not await located.validate_session(result.session_id or "")


async def test_refresh_cadence(clock: ManualClock, sink: ListSink) -> None:
    """Refreshing much faster than tokens expire adds to other signals."""
    policy = RiskPolicy(note=0.1)
    async with ManufacturerAuthManager(SECRET, clock=clock, sink=sink, options=AuthOptions(risk=policy)) as auth:
        result = await sign_in(auth)
        clock.advance(5)
        result = await auth.refresh_tokens(result.refresh_token or "", client=HOME)
        clock.advance(minutes=10)
        await auth.refresh_tokens(result.refresh_token or "", client=HOME)
    told = [event.data["signals"] for event in sink.events if event.kind == "auth:session:risky"]
    assert told == [["refresh_cadence"]]


async def test_a_session_bound_to_a_device(auth: ManufacturerAuthManager) -> None:
    """Its token must come along; a device that was revoked is none."""
    from tests.auth.identity import known_account

    account, manufacturer = await known_account(auth)
    device = await auth.register_trusted_device("mfr_acme", client=HOME)
    result = await auth.services.issuer.issue(
        account, manufacturer, HOME, factors=frozenset({"pwd", "device"}), device_id=device.device_id
    )
    session_id = result.session_id or ""
    shown = ClientInfo(HOME.ip_address, HOME.user_agent, device.device_token)
    assert names(await auth.assess_session_risk(session_id, shown)) == set()
    assert names(await auth.assess_session_risk(session_id, HOME)) == {"device_token"}
    await auth.revoke_device("mfr_acme", device.device_id)
    assert names(await auth.assess_session_risk(session_id, shown)) == {"device_token"}


@pytest.mark.parametrize(
    ("score", "action"),
    [(0.0, "none"), (0.29, "none"), (0.3, "note"), (0.6, "require_mfa"), (0.9, "end"), (1.0, "end")],
)
def test_the_steps_of_policy(score: float, action: str) -> None:
    assert RiskPolicy().action(score) == RiskAction(action)


def test_distances() -> None:
    """Berlin to Sydney is about 16,100 km; a hop within an area is no travel; countries are a lower bound."""
    assert distance_between(BERLIN, SYDNEY) == pytest.approx(16_090, rel=0.01)
    assert distance_between(BERLIN, BERLIN) == 0
    later = START + timedelta(hours=10)
    assert travel_speed(BERLIN, SYDNEY, START, later) == pytest.approx(1609, rel=0.01)
    assert travel_speed(BERLIN, BERLIN, START, START) is None
    germany, australia, poland = (Place(country=code) for code in ("DE", "AU", "PL"))
    apart = distance_between(BERLIN, australia)
    assert apart and 10_000 < apart < 16_000
    assert distance_between(germany, poland) == pytest.approx(18, abs=15)
    assert travel_speed(germany, poland, START, START) is None
    for unknown in (Place(), Place(country="ZZ"), germany):
        assert distance_between(germany, unknown) is None


def test_offline_data_of_networks() -> None:
    """Country and provider of public networks; nothing of private ones and of what is no address."""
    places = GeoIP2FastPlaces()
    assert places.place_of("8.8.8.8") == Place(country="US", provider="GOOGLE")
    assert places.place_of("2001:4860:4860::8888") == Place(country="US", provider="GOOGLE")
    for nowhere in ("10.0.0.1", "::1", "127.0.0.1", "not an address", "", "203.0.113.9", "9" * 45):
        assert places.place_of(nowhere) is None
    with pytest.raises(ConfigurationError, match="data file"):
        GeoIP2FastPlaces("/nonexistent")


async def test_impossible_travel_by_country_alone(clock: ManualClock) -> None:
    """Providers of two continents within the hour."""
    places = GeoIP2FastPlaces()
    async with ManufacturerAuthManager(SECRET, clock=clock, dependencies=AuthDependencies(places=places)) as auth:
        session = await auth.create_session({**BOUND, "ip_address": "91.198.174.192"})
        clock.advance(minutes=30)
        risk = await auth.assess_session_risk(session.session_id, ClientInfo("1.1.1.1", CHROME))
        assert "impossible_travel" in names(risk) and risk.action == "end"


def test_agents_and_clients() -> None:
    """What is known is named; what is not is its own family, less its versions."""
    assert read_agent(CHROME).label == "Chrome on Windows"
    assert read_agent(SAFARI).family == "Safari" and read_agent(SAFARI).version == 17
    assert read_agent("AcmeImporter/1.2.3").family == read_agent("AcmeImporter/1.9").family == "AcmeImporter"
    assert read_agent("AcmeImporter/1.0").label == "AcmeImporter"
    assert read_agent("x" * 10_000).family
    assert client_info(HOME) == HOME
    assert client_info(None) is None
    assert client_info({"ip_address": "1.2.3.4"}) == ClientInfo("1.2.3.4")
    assert len(client_info(ClientInfo("9" * 999)).ip_address or "") == 45  # type: ignore[union-attr]  # it is one
    assert network_key(None) is None and network_key("10.1.2.3") == "10.1.2.0/24"
    assert same_client_key(HOME) == same_client_key(NEIGHBOUR) != same_client_key(ELSEWHERE)
    assert same_client_key(None) is None is same_client_key(ClientInfo("10.0.0.1"))
    assert "secret" not in repr(ClientInfo("10.0.0.1", "x", "secret"))
