"""Bodies: whatever an application might read was seen, and what cannot be read for certain is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies as st

from gatewright.foundation import SecurityFoundation
from gatewright.web import (
    MAX_FIELDS,
    GatewrightMiddleware,
    PathRules,
    Problem,
    RouteRule,
    collect,
    read_body,
    replay,
)
from tests.web.bodies import understand
from tests.web.echo import SCRIPT, SQL, XXE, body_of, code_of, echo

MULTIPART = "multipart/form-data; boundary=x"


@pytest.fixture
async def client(foundation: SecurityFoundation) -> AsyncIterator[httpx.AsyncClient]:
    async with echo(foundation) as opened:
        yield opened


def parts(*chunks: bytes) -> bytes:
    return b"".join(b"--x\r\n" + chunk + b"\r\n" for chunk in chunks) + b"--x--\r\n"


def receiver(*messages: dict[str, Any]):
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    return receive


@pytest.mark.parametrize(
    ("body", "content_type", "value"),
    [
        (b"", "application/json", None),
        (b'{"a": [1, null]}', "application/json; charset=utf-8", {"a": [1, None]}),
        (b'{"a": 1}', "application/problem+json", {"a": 1}),
        (b'{"a": 1}', None, {"a": 1}),
        (b'{"a": 1}', "text/plain", {"a": 1}),
        (b"{{7*7}}", "text/plain", "{{7*7}}"),
        (b"<a>&x;</a>", "application/xml", "<a>&x;</a>"),
        (
            b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>',
            "text/xml",
            '<?xml version="1.0" encoding="ISO-8859-1"?><a/>',
        ),
        (parts(b"Content-Transfer-Encoding: 8bit\r\n\r\nx"), MULTIPART, {"": "x"}),
        (b"a=1&a=2&b=%27&c=", "application/x-www-form-urlencoded", {"a": ["1", "2"], "b": "'", "c": ""}),
        (b"\x89PNG\xff", "image/png", None),
        (parts(b'Content-Disposition: form-data; name="f"\r\n\r\nhello'), MULTIPART, {"f": "hello"}),
        (
            parts(b'Content-Disposition: form-data; name="f"; filename="../a.txt"\r\n\r\ntext'),
            MULTIPART,
            {"f.filename": "../a.txt", "f": "text"},
        ),
        (
            parts(b'Content-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n\x89\xff'),
            MULTIPART,
            {"f.filename": "a.png"},
        ),
    ],
)
def test_bodies_are_understood(body: bytes, content_type: str | None, value: Any) -> None:
    assert understand(body, content_type) == value


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"x":[{"a" : 1, "b":2, "a"\t:3}]}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":":","a":1}',
        b'{"a":"\\u003a","a":1}',
        b'{"a":1,"a":"\\u003A"}',
        b'{"a":' + b"[" * 400 + b'{"b":1,"b":' + b"9" * 30 + b"}" + b"]" * 400 + b"}",
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.api+json", "text/plain", None])
def test_a_member_that_comes_twice_is_refused(body: bytes, content_type: str | None) -> None:
    """One parser takes the first and another the last."""
    with pytest.raises(Problem) as refused:
        understand(body, content_type)
    assert (refused.value.status, refused.value.code) == (400, "REPEATED_MEMBER")


def test_the_error_names_the_duplicate_key_on_one_short_line() -> None:
    with pytest.raises(Problem, match=r'Duplicate key in JSON object: "name"\.'):
        understand(b'{"sku": 1, "name": 1, "name": 2}', "application/json")
    forged = json.dumps('x"\n' + "k" * 5_000).encode()
    with pytest.raises(Problem) as refused:
        understand(b"{" + forged + b":1," + forged + b":2}", "application/json")
    assert r'"x\"\nkkk' in refused.value.detail
    assert "\n" not in refused.value.detail
    assert len(refused.value.detail) < 200


WORDS = st.text(st.characters(exclude_characters=":"))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | WORDS,
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
)


@given(JSON_VALUES, st.sampled_from([":", "\\u003a", "\\u003A"]))
def test_json_without_repetition_is_never_refused(value: Any, colon: str) -> None:
    text = json.dumps(value).replace("h", colon)
    try:
        assert understand(text.encode(), "application/json") == json.loads(text)
    except Problem as problem:
        assert problem.code == "INVALID_JSON", "a lone surrogate"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/octet-stream", "image/png", None]
)
def test_json_in_another_encoding_is_refused(encoding: str, content_type: str | None) -> None:
    """``json.loads`` reads it unasked, so it must not come by without inspection."""
    with pytest.raises(Problem) as refused:
        understand('{"name": "<script>"}'.encode(encoding), content_type)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body", [b"\x00\x00\x01\x00\x01\x00", b"\xff\xfe\x00\x01", b"\x00" * 9, b"GIF89a\x00\xff", b"\x00"]
)
def test_what_is_no_json_in_any_encoding_is_let_through(body: bytes) -> None:
    assert understand(body, "application/octet-stream") in (None, body.decode("latin-1"))


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"a":', "application/json", 400, "INVALID_JSON"),
        (b'{"a": NaN}', "application/json", 400, "INVALID_JSON"),
        (b'{"a": "\xff"}', "application/json", 400, "INVALID_ENCODING"),
        ('{"a": 1}'.encode("utf-16"), "application/json", 400, "INVALID_ENCODING"),
        (b"[" * 10_000 + b"]" * 10_000, "application/json", 400, "NESTING_TOO_DEEP"),
        (b"[" * 10_000 + b"]" * 10_000, None, 400, "NESTING_TOO_DEEP"),
        (b"\xff", "text/plain; charset=utf-8", 400, "INVALID_ENCODING"),
        (b"\xff\xfe<\x00", "text/xml", 400, "INVALID_ENCODING"),
        (b"a=%27&b=\xff", "application/x-www-form-urlencoded", 400, "INVALID_ENCODING"),
        (b"&".join([b"a=1"] * (MAX_FIELDS + 1)), "application/x-www-form-urlencoded", 400, "TOO_MANY_FIELDS"),
        (b"x", "multipart/form-data", 400, "INVALID_MULTIPART"),
        (b"no boundary here", MULTIPART, 400, "INVALID_MULTIPART"),
        (parts(b'Content-Disposition: form-data; name="f"\r\n\r\n\xff'), MULTIPART, 400, "INVALID_ENCODING"),
        (parts(*[b"A: b\r\n\r\nx"] * (MAX_FIELDS + 1)), MULTIPART, 400, "TOO_MANY_FIELDS"),
        (parts(b'Content-Disposition: form-data; name="f"\r\n\r\nx')[:-8], MULTIPART, 400, "INVALID_MULTIPART"),
        (
            parts(b'Content-Disposition: form-data; name="f"\r\nContent-Transfer-Encoding: base64\r\n\r\nJyBPUg=='),
            MULTIPART,
            400,
            "INVALID_MULTIPART",
        ),
        (b'<?xml version="1.0" encoding="UTF-7"?>+ADw-x+AD4-', "application/xml", 400, "INVALID_ENCODING"),
        (b"<?xml version='1.0' encoding = 'cp037'?><x/>", None, 400, "INVALID_ENCODING"),
    ],
)
def test_what_is_not_what_it_says_is_refused(body: bytes, content_type: str | None, status: int, code: str) -> None:
    with pytest.raises(Problem) as refused:
        understand(body, content_type)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert refused.value.detail.endswith(".")


@given(st.binary(max_size=300), st.sampled_from(["application/json", MULTIPART, "text/plain", "", "a/b;;=;"]))
def test_no_body_crashes_the_reader(body: bytes, content_type: str) -> None:
    try:
        understand(body, content_type)
    except Problem as problem:
        assert 400 <= problem.status < 500


async def test_a_body_is_read_whole_within_its_bound() -> None:
    receive = receiver(
        {"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.request", "body": b"cd"}
    )
    assert await read_body(receive, "4", 4) == b"abcd"


async def test_a_body_over_the_bound_is_refused_by_what_it_announces_and_by_what_comes() -> None:
    with pytest.raises(Problem) as announced:
        await read_body(receiver(), "5", 4)
    lying = receiver(
        {"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.request", "body": b"de"}
    )
    with pytest.raises(Problem) as came:
        await read_body(lying, None, 4)
    assert announced.value.status == came.value.status == 413


async def test_a_client_that_goes_away_is_noticed() -> None:
    assert await read_body(receiver({"type": "http.disconnect"}), None, 4) is None


async def test_the_application_gets_the_body_once_and_then_the_server() -> None:
    receive = replay(b"body", receiver({"type": "http.disconnect"}))
    assert (await receive())["body"] == b"body"
    assert (await receive())["type"] == "http.disconnect"


def test_a_name_that_comes_often_keeps_all_its_values() -> None:
    assert collect([("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]) == {"a": ["1", "3", "4"], "b": "2"}


def xml(encoding: str, buyer: str) -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?><invoice><buyer>{buyer}</buyer></invoice>'.encode(encoding)


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "ISO-8859-15", "UTF-8"])
async def test_text_in_a_declared_charset_is_inspected_and_handed_on(client: httpx.AsyncClient, encoding: str) -> None:
    """F15: invoices, BMEcat and CSV of Excel were refused."""
    price_list = "Artikel;Preis\r\nStuhl für Büro;1,50 €\r\n".replace("€", "" if encoding == "ISO-8859-1" else "€")
    for kind, body in (
        (f"text/xml; charset={encoding}", xml(encoding, "Müller GmbH")),
        ("application/xml", xml(encoding, "Müller GmbH")),
        (f"text/csv; charset={encoding.lower()}", price_list.encode(encoding)),
        (f'text/csv; charset="{encoding}"; header=present', price_list.encode(encoding)),
    ):
        assert body_of(await client.post("/", content=body, headers={"content-type": kind})) == body
    for kind, body in (
        (f"text/xml; charset={encoding}", xml(encoding, f"Müller {SQL}")),
        ("application/xml", xml(encoding, "Müller").replace(b"<invoice>", XXE.encode())),
        (f"text/csv; charset={encoding}", (price_list + SQL).encode(encoding)),
    ):
        answer = await client.post("/", content=body, headers={"content-type": kind})
        assert code_of(answer) == (403, "THREAT_DETECTED")


async def test_a_stray_byte_in_text_without_a_charset_hides_nothing(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "text/csv", "text/html"):
        headers = {"content-type": kind}
        assert body_of(await client.post("/", content="Stuhl für Büro".encode("cp1252"), headers=headers))
        for attack in (SCRIPT, "<scr\xffipt>alert(1)</scr\xffipt>", "<scr\x1b(Bipt>alert(1)</scr\x1b(Bipt>"):
            answer = await client.post("/", content=f"Büro {attack}".encode("latin-1"), headers=headers)
            assert code_of(answer) == (403, "THREAT_DETECTED")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/xml; charset=utf-8", xml("ISO-8859-1", "Müller")),
        ("text/xml; charset=windows-1252", xml("ISO-8859-1", "Mueller")),
        ("text/xml; charset=ISO-8859-1", xml("UTF-8", "Müller")),
        ("text/xml", b"\xef\xbb\xbf" + xml("ISO-8859-1", "Mueller")),
        ("text/csv; charset=utf-7", b"+ADw-script+AD4-"),
        ("text/csv; charset=utf-16", "a;b".encode("utf-16")),
        ("text/csv; charset=utf-8; charset=iso-8859-1", b"a;b"),
        ("text/csv; charset=utf-8", "Büro".encode("cp1252")),
        ("text/xml", b'<?xml version="1.0"' + b" " * 2_000 + b'encoding="utf-7"?><a/>'),
        ("application/json; charset=utf-16", b'{"a": 1}'),
        ("application/json; charset=utf-7", b'{"a": "+ADw-"}'),
        ("application/json; charset=iso-8859-1", '{"a": "ä"}'.encode()),
        ("application/x-www-form-urlencoded; charset=iso-8859-1", b"a=%C3%A4"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"a=b"),
    ],
)
async def test_a_body_whose_charset_is_in_doubt_is_refused(
    client: httpx.AsyncClient, content_type: str, body: bytes
) -> None:
    assert code_of(await client.post("/", content=body, headers={"content-type": content_type}))[0] == 400


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "iso-8859-1", "us-ascii"])
async def test_ascii_is_the_same_in_any_of_these(client: httpx.AsyncClient, charset: str) -> None:
    for kind, body in (("application/json", b'{"a": 1}'), ("application/x-www-form-urlencoded", b"a=b+c")):
        headers = {"content-type": f"{kind}; charset={charset}"}
        assert body_of(await client.post("/", content=body, headers=headers)) == body


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.api+json", "application/json; charset=utf-8"])
async def test_a_mark_before_json_is_accepted_and_dropped(client: httpx.AsyncClient, kind: str) -> None:
    """Some parsers skip it and others refuse it; without it they read the same."""
    content = '{"a": "ä"}'.encode()
    answer = await client.post("/json", content=b"\xef\xbb\xbf" + content, headers={"content-type": kind})
    assert body_of(answer) == content and answer.json()["json"] == {"a": "ä"}
    assert answer.json()["headers"]["content-length"] == str(len(content))
    attack = b"\xef\xbb\xbf" + json.dumps({"q": SQL}).encode()
    for other in (kind, "text/plain", "application/octet-stream"):
        assert code_of(await client.post("/", content=attack, headers={"content-type": other}))[0] == 403


async def request_with(foundation: SecurityFoundation, method: str, *messages: dict[str, Any]) -> tuple[int, list[Any]]:
    """The status, and what the application received: a request over HTTP/2 names no length."""
    received: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.extend([await receive(), await receive()])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("192.0.2.1", 1),
    }
    rules = PathRules(default=RouteRule(auth="none"))
    await GatewrightMiddleware(app, foundation, rules)(scope, receiver(*messages), send)
    return sent[0]["status"] if sent else 0, received


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "POST", "QUERY"])
async def test_a_body_is_read_whatever_the_method(foundation: SecurityFoundation, method: str) -> None:
    gone = {"type": "http.disconnect"}
    attack = json.dumps({"q": SQL}).encode()
    first = {"type": "http.request", "body": attack[:9], "more_body": True}
    last = {"type": "http.request", "body": attack[9:], "more_body": False}
    assert (await request_with(foundation, method, first, last, gone))[0] == 403
    good = {"type": "http.request", "body": b'{"a": 1}', "more_body": False}
    assert await request_with(foundation, method, good, gone) == (200, [good, gone])
    empty = {"type": "http.request", "body": b"", "more_body": False}
    assert await request_with(foundation, method, empty, gone) == (200, [empty, gone])
    assert await request_with(foundation, method, gone) == (0, [])
