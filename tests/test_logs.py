"""Logs: one line for each event, and no secret on any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st
from pydantic import SecretStr

from gatewright import logs
from gatewright.errors import SecurityError
from gatewright.records import Record

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtIn0.c2lnbmF0dXJl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go during one test; the root logger is as before afterwards."""
    root, out = logging.getLogger(), io.StringIO()
    level, handlers, handler = root.level, list(root.handlers), logs._handler
    logs.configure(level="debug", format="json", stream=out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    logs._handler = handler


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_fields(stream: io.StringIO) -> None:
    log = logs.get_logger("gatewright.test")
    log.debug("d", n=1)
    log.info("key rotated", key_id="k1", at=datetime(2026, 1, 2, tzinfo=UTC))
    log.warning("w")
    log.error("e")
    debug, info, warning, error = lines(stream)
    assert info["event"] == "key rotated"
    assert info["key_id"] == "k1"
    assert info["level"] == "info"
    assert info["logger"] == "gatewright.test"
    assert info["at"] == "2026-01-02T00:00:00+00:00"
    assert "timestamp" in info
    assert [debug["level"], warning["level"], error["level"]] == ["debug", "warning", "error"]


def test_a_level_that_is_off_writes_nothing(stream: io.StringIO) -> None:
    logs.configure(level="warning", format="json", stream=stream)
    logs.get_logger("gatewright.test").info("hidden")
    assert stream.getvalue() == ""


def test_the_request_id_is_on_every_line(stream: io.StringIO) -> None:
    with logs.bind_request("req-1"):
        assert logs.current_request_id() == "req-1"
        logs.get_logger("a").info("ours")
        logging.getLogger("theirs").warning("foreign %s", "line")
    logs.get_logger("a").info("after")
    ours, theirs, after = lines(stream)
    assert ours["request_id"] == theirs["request_id"] == "req-1"
    assert theirs["event"] == "foreign line"
    assert "request_id" not in after


def test_no_secret_gets_through_whoever_writes(stream: io.StringIO) -> None:
    logs.get_logger("a").info(
        f"token={JWT}",
        password="planted-1",
        nested={"api_key": "planted-2", "list": [{"Authorization": "planted-3"}]},
        note="Bearer planted-4-xyz",
        typed=SecretStr("planted-5"),
        raw=b"planted-6",
    )
    logging.getLogger("uvicorn").error("GET /x?token=planted-7 password: planted-8")
    try:
        raise ValueError(f"refused {JWT}")
    except ValueError:
        logs.get_logger("a").exception("failed")
    text = stream.getvalue()
    assert "planted" not in text
    assert JWT not in text
    assert "ValueError" in text


def test_a_value_cannot_forge_a_line(stream: io.StringIO) -> None:
    logs.configure(level="info", format="console", stream=stream)
    logs.get_logger("a").info('x\n{"event":"forged"}', name="a\r\nb\x1b[31mred\u202e\u2028")
    text = stream.getvalue()
    assert text.count("\n") == 1
    for bad in ("\x1b", "\r", "\u202e", "\u2028"):
        assert bad not in text


def test_console_shows_a_traceback_without_locals(stream: io.StringIO) -> None:
    logs.configure(level="info", format="console", stream=stream)
    try:
        hidden = "planted-local"
        raise RuntimeError(str(len(hidden)))
    except RuntimeError:
        logs.get_logger("a").exception("failed", n=1)
    assert "RuntimeError" in stream.getvalue()
    assert stream.getvalue().count("planted-local") <= 1  # the source line itself, never the value of a variable


def test_in_a_strangers_program_lines_are_plain_and_clean(caplog: pytest.LogCaptureFixture) -> None:
    assert logs._handler is None
    with caplog.at_level(logging.INFO):
        logs.get_logger("a").info("hello", password="planted", n=3)
    assert "hello" in caplog.text
    assert "n=3" in caplog.text
    assert "planted" not in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("password", "new_password", "Password", "passwordHash", "access_token", "token", "refreshToken", "jwt"),
        *("client_secret", "SECRET_KEY", "api_key", "X-Api-Key", "apiKey", "Authorization", "Set-Cookie", "cookie"),
        *("backup_codes", "mfa_code", "totp", "private_key", "encryption_key", "provisioning_uri", "qr_code"),
        *("tax_id", "bank_account", "pin", "csrf"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert logs.is_secret_name(name)
    assert logs.redact({name: "planted"}) == {name: logs.HIDDEN}


@pytest.mark.parametrize(
    "name",
    [
        *("token_type", "token_expiry_hours", "key_id", "session_id", "secret_key_id", "password_min_length"),
        *("code", "status", "email", "path", "", "tokens_count", "backup_codes_remaining", "mfa_required", "keyboard"),
    ],
)
def test_names_that_are_none(name: str) -> None:
    assert not logs.is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        *(JWT, f"x={JWT}&y", "gw_abc123_0123456789abcdefXYZ", "otpauth://totp/A:b?secret=JBSWY3DP"),
        *("Authorization: Bearer abcdef012345", "Basic dXNlcjpwYXNz", "password=hunter2", '"secret": "hunter2"'),
        *("gwr_0123456789abcdefXYZ", "gwd_0123456789abcdef_0123456789abcdefXYZ"),
        *("api_key=hunter2", "mongodb://user:hunter2@host/db", "gAAAAABkZm9vYmFyYmF6cXV4MTIzNDU2Nzg5"),
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----",
    ],
)
def test_looks_of_secrets(text: str) -> None:
    shown = logs.redact_text(text)
    assert logs.HIDDEN in shown
    for part in (JWT, "0123456789abcdefXYZ", "JBSWY3DP", "abcdef012345", "dXNlcjpwYXNz", "hunter2", "MHcCAQEEIB"):
        assert part not in shown


def test_places_in_a_text_stay_where_secrets_are_masked() -> None:
    text = f"before {JWT} after gwr_0123456789abcdefXYZ"
    masked = logs.mask_secrets(text)
    assert len(masked) == len(text) and masked.startswith("before *") and " after *" in masked
    assert JWT not in masked and "0123456789abcdefXYZ" not in masked


@pytest.mark.parametrize("text", ["select specialty hospital", "token", "Bearer of news", "https://example.com/a:b"])
def test_ordinary_text_stays(text: str) -> None:
    assert logs.redact_text(text) == text


def test_everything_is_bounded() -> None:
    deep: Any = "x"
    for _ in range(20):
        deep = {"a": deep}
    wide = logs.redact({str(n): n for n in range(1000)})
    assert len(wide) == logs.MAX_ITEMS + 1
    assert wide["…"] == f"{1000 - logs.MAX_ITEMS} more"
    assert len(logs.redact(list(range(1000)))) == logs.MAX_ITEMS + 1
    assert "[too deep]" in str(logs.redact(deep))
    assert len(logs.redact_text("x" * 100_000)) < logs.MAX_LENGTH + 40


def test_types_are_told_plainly() -> None:
    class Colour(Enum):
        RED = 1

    class Kept(Record, frozen=True, kw_only=True):
        name: str
        password: str

    assert logs.redact(
        {
            "enum": Colour.RED,
            "uuid": UUID(int=1),
            "decimal": Decimal("1.50"),
            "record": Kept(name="n", password="planted"),
            "error": SecurityError("no", code="X"),
            "object": object(),
            "huge": 2**80,
            "none": None,
            "flag": True,
            "float": 1.5,
            "set": {1},
            7: "seven",
        }
    ) == {
        "enum": 1,
        "uuid": str(UUID(int=1)),
        "decimal": "1.50",
        "record": {"name": "n", "password": logs.HIDDEN},
        "error": "SecurityError: no",
        "object": "[object]",
        "huge": f"{float(2**80):.17g}",
        "none": None,
        "flag": True,
        "float": 1.5,
        "set": [1],
        "7": "seven",
    }


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_whatever_comes_is_json_of_printable_text(value: Any) -> None:
    def texts(shown: Any) -> Iterator[str]:
        if isinstance(shown, str):
            yield shown
        elif isinstance(shown, list):
            for item in shown:
                yield from texts(item)

    for text in texts(logs.redact(value)):
        text.encode()
        assert not set(text) & set(map(chr, [*range(32), 127]))


_FLAT = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())


@given(st.dictionaries(st.text(), _FLAT | st.dictionaries(st.text(), _FLAT)))
def test_the_quick_way_agrees_with_the_long_one(values: dict[str, Any]) -> None:
    texts = logs.plain_texts(values)
    if texts is not None and not logs.any_may_contain_secret(texts):
        assert logs.redact(values) == values
