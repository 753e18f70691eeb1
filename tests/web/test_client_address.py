"""Whom a request is counted for, and blocked for, behind a proxy: no one frames another, no one gets away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gatewright.auth import ClientInfo
from gatewright.controls import Measure
from gatewright.errors import ConfigurationError, InvalidCredentialsError, RateLimitExceededError
from gatewright.foundation import SecurityFoundation
from gatewright.settings import Settings
from gatewright.testing import ListSink, ManualClock
from gatewright.web import GatewrightMiddleware, PathRules, RouteRule
from tests.web.conftest import PASSWORD

PROXY, ATTACKER, VICTIM = "10.0.0.1", "203.0.113.66", "198.51.100.7"
ATTACK = {"q": "x' UNION SELECT email, password FROM accounts --"}

FORGED = {
    "X-Forwarded-For": VICTIM,
    "Forwarded": f"for={VICTIM}",
    "X-Real-IP": VICTIM,
    "CF-Connecting-IP": VICTIM,
    "True-Client-IP": VICTIM,
    "X-Client-IP": VICTIM,
}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def written(header: str, client: str, forged: dict[str, str]) -> list[tuple[str, str]]:
    """What a proxy hands on: the client's headers, and its own, appended to a list or in place of what came."""
    kept = [(name, value) for name, value in forged.items() if name != header]
    own = f"for={client}" if header == "Forwarded" else client
    if header in ("X-Forwarded-For", "Forwarded") and header in forged:
        own = f"{forged[header]}, {own}"
    return [*kept, (header, own)]


@asynccontextmanager
async def service(header: str | None = None, **settings: Any) -> AsyncIterator[tuple[SecurityFoundation, Any]]:
    if header is not None:
        settings["client_ip_header"] = header
    configured = Settings(
        database=":memory:",
        argon2_memory_kib=8,
        argon2_time_cost=1,
        trusted_proxies=("10.0.0.0/8",),
        posture_mode="enforce",
        **settings,
    )
    async with SecurityFoundation(configured, clock=ManualClock()) as foundation:
        yield foundation, GatewrightMiddleware(echo, foundation, PathRules(default=RouteRule()))


def through(app: Any, peer: str = PROXY) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def attack(app: Any, headers: list[tuple[str, str]], peer: str = PROXY) -> list[int]:
    async with through(app, peer) as http:
        return [(await http.get("/", params=ATTACK, headers=headers)).status_code for _ in range(12)]


async def settled(foundation: SecurityFoundation) -> None:
    """Wait until the monitor has seen what happened, and posture has acted on it."""
    await foundation.monitor.flush()
    await foundation.monitor.assess()
    await foundation.monitor.propose()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"])
async def test_nobody_gets_another_blocked_with_forged_headers(header: str) -> None:
    async with service(header) as (foundation, app):
        sink = ListSink()
        foundation.sink.add(sink)
        await attack(app, written(header, ATTACKER, FORGED))
        await settled(foundation)
        assert {event.ip_address for event in sink.events if event.ip_address} == {ATTACKER}
        assert not foundation.controls.is_blocked(VICTIM) and not foundation.controls.is_blocked(PROXY)
        assert foundation.controls.is_blocked(ATTACKER), "and the attacker is blocked all the same"
        async with through(app) as http:
            assert (await http.get("/", headers=written(header, VICTIM, {}))).status_code == 200
            assert (await http.get("/", headers=written(header, ATTACKER, FORGED))).status_code == 429


async def test_nobody_who_comes_without_the_proxy_frames_another() -> None:
    async with service() as (foundation, app):
        await attack(app, list(FORGED.items()), peer=ATTACKER)
        await settled(foundation)
        assert foundation.controls.is_blocked(ATTACKER) and not foundation.controls.is_blocked(VICTIM)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-For", "unknown")],
        [("X-Forwarded-For", f"{VICTIM}, unknown")],
        [("X-Forwarded-For", f"{VICTIM}, 10.0.0.9, garbage")],
        [("Forwarded", f"for={VICTIM}"), ("X-Real-IP", VICTIM)],
    ],
)
async def test_a_client_that_is_unknown_is_neither_the_proxy_nor_anybody_else(headers: list[tuple[str, str]]) -> None:
    async with service() as (foundation, app):
        sink = ListSink()
        foundation.sink.add(sink)
        codes = await attack(app, headers)
        await settled(foundation)
        assert set(codes) == {403}, "what an unknown client sends is inspected like the rest"
        assert {event.ip_address for event in sink.events} == {None}
        assert not any(measure.kind == "block" for measure in foundation.controls.snapshot())
        foundation.controls.apply(
            Measure(measure_id="m", kind="block", scope="network:10.0.0.0/24", created_at=foundation.clock.now())
        )
        async with through(app) as http:
            assert (await http.get("/", headers=headers)).status_code == 200, "no block of a network hits it"


@pytest.mark.parametrize("twice", [[ATTACKER, VICTIM], [VICTIM, ATTACKER], [ATTACKER, ATTACKER]])
async def test_a_header_with_one_address_that_comes_twice_names_nobody(twice: list[str]) -> None:
    async with service("X-Real-IP") as (foundation, app):
        await attack(app, [("X-Real-IP", address) for address in twice])
        await settled(foundation)
        assert not foundation.controls.is_blocked(VICTIM) and not foundation.controls.is_blocked(ATTACKER)


async def test_unknown_clients_share_one_allowance_and_leave_that_of_others_alone() -> None:
    async with service() as (_, app), through(app) as http:
        kinds = (["X-Forwarded-For", "unknown"], ["X-Forwarded-For", "junk"], ["Forwarded", f"for={VICTIM}"])
        codes = [
            (await http.get("/", headers={name: f"{value}{number}" if value == "junk" else value})).status_code
            for number in range(101)
            for name, value in kinds
        ]
        assert codes[:300] == [200] * 300 and set(codes[300:]) == {429}
        assert (await http.get("/", headers={"X-Forwarded-For": VICTIM})).status_code == 200
        async with through(app, peer="unix:/run/gatewright.sock") as socket:
            assert (await socket.get("/")).status_code == 429, "a peer that is not an address is unknown too"


async def test_being_unknown_does_not_escape_the_limit_on_sign_in() -> None:
    async with service() as (foundation, _):
        await foundation.auth.register_manufacturer(
            {"email": "owner@example.com", "password": PASSWORD, "company_name": "Oak Works"}
        )

        async def tries(client: ClientInfo | None, name: str) -> str:
            try:
                await foundation.auth.authenticate_manufacturer(name, "wrong-wrong-wrong", client=client)
            except (InvalidCredentialsError, RateLimitExceededError) as error:
                return error.code
            return "signed in"

        unknown = [ClientInfo(None, "a"), ClientInfo("not an address", "b")]
        codes = [await tries(unknown[n % 2], f"n{n}@example.com") for n in range(60)]
        assert codes[0] == "INVALID_CREDENTIALS" and codes[-1] == "RATE_LIMIT_EXCEEDED"
        assert await tries(ClientInfo(VICTIM, "a"), "other@example.com") == "INVALID_CREDENTIALS"
        assert await tries(None, "another@example.com") == "INVALID_CREDENTIALS", "a library call names no client"


@pytest.mark.parametrize("name", ["", "X Real IP", "X-Real-IP:", "X-Real-IP\n", "X-Forwarded-For,Forwarded", "a" * 65])
def test_the_setting_names_one_header(name: str) -> None:
    with pytest.raises(ConfigurationError, match="GATEWRIGHT_CLIENT_IP_HEADER"):
        Settings(client_ip_header=name)


def test_the_header_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().client_ip_header == "X-Forwarded-For"
    monkeypatch.setenv("GATEWRIGHT_CLIENT_IP_HEADER", "CF-Connecting-IP")
    assert Settings().client_ip_header == "CF-Connecting-IP"
