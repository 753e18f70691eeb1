"""Headers: how many, how large, and which of them only once; bodies that arrive too slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gatewright.foundation import SecurityFoundation
from gatewright.notify import MemoryNotifier
from gatewright.settings import Settings
from gatewright.testing import ManualClock
from gatewright.web import GatewrightMiddleware, PathRules, Problem, RouteRule, receive_within
from tests.web.conftest import Join

Headers = list[tuple[bytes, bytes]]


def lines(count: int, size: int = 10) -> Headers:
    return [(f"x-line-{number}".encode(), b"v" * size) for number in range(count)]


@pytest.mark.parametrize("count", [101, 150, 5_000])
async def test_too_many_lines_are_refused(http: httpx.AsyncClient, count: int) -> None:
    answer = await http.get("/healthz", headers=lines(count))
    assert (answer.status_code, answer.json()["code"]) == (431, "TOO_MANY_HEADERS")
    assert "100" in answer.json()["detail"]


async def test_the_same_name_again_and_again_is_a_line_each(http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz", headers=[(b"x-same", b"1")] * 101)
    assert (answer.status_code, answer.json()["code"]) == (431, "TOO_MANY_HEADERS")


@pytest.mark.parametrize(
    "headers", [[(b"x-big", b"v" * 70_000)], lines(70, 1_000), [(b"x" * 66_000, b"")], [(b"cookie", b"a=b; " * 14_000)]]
)
async def test_too_many_bytes_are_refused(http: httpx.AsyncClient, headers: Headers) -> None:
    answer = await http.get("/healthz", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (431, "HEADERS_TOO_LARGE")
    assert "65,536" in answer.json()["detail"]


async def test_the_target_counts_with_them(http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz?" + "a" * 30_000, headers=lines(40, 1_000))
    assert answer.status_code == 431


async def test_ordinary_headers_pass(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz", headers=lines(80, 500))).status_code == 200


# --- sent once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"x-device-token", b"idempotency-key", b"host"])
@pytest.mark.parametrize("path", ["/v1/me", "/healthz", "/v1/forward-auth"])
async def test_a_header_that_decides_comes_once(http: httpx.AsyncClient, join: Join, name: bytes, path: str) -> None:
    token = (await join())["headers"]["authorization"].encode()
    for one, other in ((token, b"other"), (b"other", token), (token, token)):
        answer = await http.get(path, headers=[(name, one), (b"accept", b"*/*"), (name, other)])
        assert (answer.status_code, answer.json()["code"]) == (400, "REPEATED_HEADER")
        assert name.decode() in answer.json()["detail"]


@pytest.mark.parametrize(
    "cookies",
    [
        [b"__Host-gatewright=a.b; __Host-gatewright=c.d"],
        [b"__Host-gatewright=a.b", b"__Host-gatewright=c.d"],
        [b"x=1;__Host-gatewright=a.b ;y=2", b" __Host-gatewright=a.b"],
        [b"__Host-gatewright; __Host-gatewright=c.d"],
    ],
)
async def test_the_session_cookie_comes_once(http: httpx.AsyncClient, cookies: list[bytes]) -> None:
    answer = await http.get("/v1/me", headers=[(b"cookie", value) for value in cookies])
    assert (answer.status_code, answer.json()["code"]) == (400, "REPEATED_COOKIE")


async def test_other_headers_may_come_twice(http: httpx.AsyncClient) -> None:
    twice = [(b"accept", b"text/html"), (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"my__Host-gatewright=2")]
    assert (await http.get("/healthz", headers=twice)).status_code == 200


# --- slow bodies ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def impatient() -> AsyncIterator[SecurityFoundation]:
    settings = Settings(database=":memory:", argon2_memory_kib=8, argon2_time_cost=1, body_timeout_seconds=0.05)
    async with SecurityFoundation(settings, notifier=MemoryNotifier(), clock=ManualClock()) as opened:
        yield opened


async def _post(foundation: SecurityFoundation, chunks: list[bytes], *, then_stall: bool) -> list[dict[str, Any]]:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    waiting, sent = list(chunks), []

    async def receive() -> dict[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or then_stall}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.1", 1),
        "http_version": "1.1",
    }
    await asyncio.wait_for(
        GatewrightMiddleware(echo, foundation, PathRules(default=RouteRule()))(scope, receive, send), 20
    )
    return sent


@pytest.mark.parametrize("chunks", [[], [b"a"], [b"a"] * 50])
async def test_a_body_that_never_ends_is_given_up(impatient: SecurityFoundation, chunks: list[bytes]) -> None:
    start, body = await _post(impatient, chunks, then_stall=True)
    assert start["status"] == 408 and b"REQUEST_TIMEOUT" in body["body"]
    assert (b"Connection", b"close") in start["headers"]


async def test_a_body_that_arrives_is_served(impatient: SecurityFoundation) -> None:
    start, body = await _post(impatient, [b"a", b"b", b"c"], then_stall=False)
    assert (start["status"], body["body"]) == (200, b"abc")


async def test_a_failure_while_waiting_reaches_whoever_waits() -> None:
    """Whether the wait ends, fails or is canceled, the server's own ``receive`` learns of it."""
    seen: list[str] = []
    ready: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await ready}
        except (ConnectionError, asyncio.CancelledError) as error:
            seen.append(type(error).__name__)
            if isinstance(error, asyncio.CancelledError):
                raise
            await asyncio.sleep(0)
            return {"type": "http.disconnect"}

    timed = receive_within(20, {"http_version": "2"}, receive)
    task = asyncio.create_task(timed())
    await asyncio.sleep(0)
    ready.set_exception(ConnectionResetError())
    assert await task == {"type": "http.disconnect"}
    ready = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(timed())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ConnectionResetError", "CancelledError"]
    ready = asyncio.get_running_loop().create_future()
    with pytest.raises(Problem) as slow:
        await receive_within(0.01, {"http_version": "2"}, receive)()
    assert slow.value.status == 408 and slow.value.headers == {}
