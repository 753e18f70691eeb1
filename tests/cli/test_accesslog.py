"""Lines of access logs become what the middleware would have inspected."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from gatewright.cli.access_log import LoggedRequest, NotARequest, parse

COMBINED = (
    b'203.0.113.7 - - [10/Oct/2025:13:55:36 +0000] "GET /p/1?q=a%20b&q=c HTTP/1.1" 200 2326 '
    b'"https://shop.example/" "Mozilla/5.0"\n'
)


def test_combined_log_format() -> None:
    found = parse(COMBINED)
    assert (found.client, found.method, found.status) == ("203.0.113.7", "GET", "200")
    assert found.time == "10/Oct/2025:13:55:36 +0000"
    assert found.value == {
        "path": "/p/1",
        "query": {"q": ["a b", "c"]},
        "headers": {"referer": "https://shop.example/", "user-agent": "Mozilla/5.0"},
    }


def test_common_log_format_has_no_headers() -> None:
    found = parse(b'::1 - - [10/Oct/2025:13:55:36 +0000] "POST /a%2e%2e HTTP/2.0" 403 12')
    assert found.value == {"path": "/a.."}
    assert found.client == "::1"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"/q?a=\x22\x3Cscript\x3E", '"<script>'),
        (rb"/q?a=\"quoted\"", '"quoted"'),
        (rb"/q?a=back\\slash", "back\\slash"),
    ],
)
def test_escapes_of_the_server_are_undone(written: bytes, meant: str) -> None:
    line = b'1.2.3.4 - - [t] "GET ' + written + b' HTTP/1.1" 200 1 "-" "-"'
    assert parse(line).value["query"] == {"a": [meant]}


def test_a_target_with_spaces_is_kept_whole() -> None:
    line = b'1.2.3.4 - - [t] "GET /search?q=1 UNION SELECT x HTTP/1.1" 200 1'
    assert parse(line).target == "/search?q=1 UNION SELECT x"


def test_noise_instead_of_a_request_line_is_inspected_as_the_target() -> None:
    found = parse(rb'1.2.3.4 - - [t] "\x16\x03\x01" 400 0 "-" "-"')
    assert (found.method, found.target) == ("-", "\x16\x03\x01")


@pytest.mark.parametrize("user", [b"a[b]", b'[x] \\"GET / HTTP/1.1\\"', b"a] [b"])
def test_a_user_name_with_brackets_hides_no_request(user: bytes) -> None:
    """Anybody may send one: servers log the name also when the password is wrong."""
    found = parse(b"1.2.3.4 - " + user + b' [10/Oct/2025:13:55:36 +0000] "GET /a?b=c HTTP/1.1" 401 0 "-" "-"')
    assert (found.time, found.target, found.status) == ("10/Oct/2025:13:55:36 +0000", "/a?b=c", "401")


def test_bytes_that_are_escaped_are_of_utf_8() -> None:
    line = rb'1.2.3.4 - - [t] "GET /\xC3\xBC?q=\xEF\xBC\x9Cscript\xEF\xBC\x9E&r=\xFF HTTP/1.1" 200 1'
    assert parse(line).value == {"path": "/ü", "query": {"q": ["＜script＞"], "r": ["\udcff"]}}


def test_a_byte_order_mark_is_no_part_of_the_line() -> None:
    assert parse(b"\xef\xbb\xbf" + COMBINED).client == "203.0.113.7"
    assert parse(b'\xef\xbb\xbf{"uri": "/x"}').target == "/x"


def test_nginx_json() -> None:
    entry = {
        "remote_addr": "198.51.100.9",
        "request": "GET /x?y=1 HTTP/1.1",
        "status": 404,
        "http_user_agent": "curl/8",
        "request_body": '{"a": ["<b>"], "password": "x OR 1=1 --"}',
    }
    found = parse(json.dumps(entry).encode())
    assert (found.client, found.method, found.status) == ("198.51.100.9", "GET", "404")
    assert found.value == {
        "path": "/x",
        "query": {"y": ["1"]},
        "headers": {"user-agent": "curl/8"},
        "body": {"a": ["<b>"]},
    }
    assert found.path == "/x"


def test_caddy_json() -> None:
    request = {"remote_ip": "10.0.0.1", "method": "PUT", "uri": "/u", "headers": {"User-Agent": ["x/1"]}}
    found = parse(json.dumps({"ts": 1.5, "status": 200, "request": request}).encode())
    assert (found.client, found.method, found.target, found.time) == ("10.0.0.1", "PUT", "/u", "1.5")
    assert found.value["headers"] == {"user-agent": ["x/1"]}


def test_traefik_json() -> None:
    entry = {"ClientHost": "10.0.0.2", "RequestMethod": "GET", "RequestPath": "/t?q=1", "DownstreamStatus": 200}
    found = parse(json.dumps(entry).encode())
    assert (found.client, found.target, found.status) == ("10.0.0.2", "/t?q=1", "200")


def test_json_that_names_no_request_is_inspected_whole() -> None:
    found = parse(b'{"message": "hello", "n": 1}')
    assert (found.value, found.path) == ({"message": "hello", "n": 1}, "")


def test_an_absolute_target_is_taken_apart() -> None:
    assert parse(b'{"url": "https://shop.example/a?b=1"}').value == {"path": "/a", "query": {"b": ["1"]}}


@pytest.mark.parametrize("line", [b"", b"hello", b'{"a": ', b"[1, 2]", b'1.2.3.4 - - [time] "GET / HTTP/1.1', b"\xff"])
def test_what_is_no_request_says_so(line: bytes) -> None:
    with pytest.raises(NotARequest):
        parse(line)


def test_the_form_can_be_given() -> None:
    with pytest.raises(NotARequest):
        parse(COMBINED, "json")
    with pytest.raises(NotARequest):
        parse(b'{"path": "/"}', "combined")


@pytest.mark.parametrize("entry", ['{"uri": %s}', '{"status": %s, "uri": "/"}', '{"args": %s}'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_any_depth_is_a_request_or_not(entry: str, opening: str, closing: str) -> None:
    for depth in range(900, 1_005):
        try:
            parse((entry % (opening * depth + "1" + closing * depth)).encode())
        except NotARequest:
            continue


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_not(line: bytes) -> None:
    try:
        found = parse(line)
    except NotARequest:
        return
    assert isinstance(found, LoggedRequest)


@given(st.text(st.characters(exclude_characters="\n\r"), max_size=60))
def test_a_target_written_as_nginx_does_comes_back(text: str) -> None:
    def escape(char: str) -> str:
        raw = char.encode("utf-8", "surrogatepass")
        return char if char.isalnum() and char.isascii() else "".join(f"\\x{byte:02X}" for byte in raw)

    written = "".join(escape(char) for char in text)
    line = f'1.2.3.4 - - [t] "GET /?q={written} HTTP/1.1" 200 1'
    found = parse(line.encode())
    assert found.target.encode("utf-8", "surrogateescape") == ("/?q=" + text).encode("utf-8", "surrogatepass")
