"""Bodies: whatever an application might read was seen, and what cannot be read for certain is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gatewright.web.body import MAX_FIELDS, collect, read_body, replay, understand
from gatewright.web.problems import Problem

MULTIPART = "multipart/form-data; boundary=x"


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
    assert understand(body, content_type, None) == value


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
        understand(body, content_type, None)
    assert (refused.value.status, refused.value.code) == (400, "REPEATED_MEMBER")


WORDS = st.text(st.characters(exclude_characters=":"))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | WORDS,
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
)


@given(JSON_VALUES, st.sampled_from([":", "\\u003a", "\\u003A"]))
def test_json_without_repetition_is_never_refused(value: Any, colon: str) -> None:
    text = json.dumps(value).replace("h", colon)
    try:
        assert understand(text.encode(), "application/json", None) == json.loads(text)
    except Problem as problem:
        assert problem.code == "INVALID_JSON", "a lone surrogate"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/octet-stream", "image/png", None]
)
def test_json_in_another_encoding_is_refused(encoding: str, content_type: str | None) -> None:
    """``json.loads`` reads it unasked, so it must not come by without inspection."""
    with pytest.raises(Problem) as refused:
        understand('{"name": "<script>"}'.encode(encoding), content_type, None)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body", [b"\x00\x00\x01\x00\x01\x00", b"\xff\xfe\x00\x01", b"\x00" * 9, b"GIF89a\x00\xff", b"\x00"]
)
def test_what_is_no_json_in_any_encoding_is_let_through(body: bytes) -> None:
    assert understand(body, "application/octet-stream", None) in (None, body.decode("latin-1"))


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "status", "code"),
    [
        (b'{"a":', "application/json", None, 400, "INVALID_JSON"),
        (b'{"a": NaN}', "application/json", None, 400, "INVALID_JSON"),
        (b'{"a": "\xff"}', "application/json", None, 400, "INVALID_ENCODING"),
        ('{"a": 1}'.encode("utf-16"), "application/json", None, 400, "INVALID_ENCODING"),
        (b"[" * 10_000 + b"]" * 10_000, "application/json", None, 400, "NESTING_TOO_DEEP"),
        (b"[" * 10_000 + b"]" * 10_000, None, None, 400, "NESTING_TOO_DEEP"),
        (b"\xff", "text/plain", None, 400, "INVALID_ENCODING"),
        (b"\xff\xfe<\x00", "text/xml", None, 400, "INVALID_ENCODING"),
        (b"a=%27&b=\xff", "application/x-www-form-urlencoded", None, 400, "INVALID_ENCODING"),
        (b"&".join([b"a=1"] * (MAX_FIELDS + 1)), "application/x-www-form-urlencoded", None, 400, "TOO_MANY_FIELDS"),
        (b"x", "multipart/form-data", None, 400, "INVALID_MULTIPART"),
        (b"no boundary here", MULTIPART, None, 400, "INVALID_MULTIPART"),
        (parts(b'Content-Disposition: form-data; name="f"\r\n\r\n\xff'), MULTIPART, None, 400, "INVALID_ENCODING"),
        (parts(*[b"A: b\r\n\r\nx"] * (MAX_FIELDS + 1)), MULTIPART, None, 400, "TOO_MANY_FIELDS"),
        (parts(b'Content-Disposition: form-data; name="f"\r\n\r\nx')[:-8], MULTIPART, None, 400, "INVALID_MULTIPART"),
        (
            parts(b'Content-Disposition: form-data; name="f"\r\nContent-Transfer-Encoding: base64\r\n\r\nJyBPUg=='),
            MULTIPART,
            None,
            400,
            "INVALID_MULTIPART",
        ),
        (b'<?xml version="1.0" encoding="UTF-7"?>+ADw-x+AD4-', "application/xml", None, 400, "INVALID_ENCODING"),
        (b"<?xml version='1.0' encoding = 'cp037'?><x/>", None, None, 400, "INVALID_ENCODING"),
        (b"\x1f\x8b", "application/json", "gzip", 415, "ENCODING_NOT_SUPPORTED"),
    ],
)
def test_what_is_not_what_it_says_is_refused(
    body: bytes, content_type: str | None, encoding: str | None, status: int, code: str
) -> None:
    with pytest.raises(Problem) as refused:
        understand(body, content_type, encoding)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert refused.value.detail.endswith(".")


@given(st.binary(max_size=300), st.sampled_from(["application/json", MULTIPART, "text/plain", "", "a/b;;=;"]))
def test_no_body_crashes_the_reader(body: bytes, content_type: str) -> None:
    try:
        understand(body, content_type, None)
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
