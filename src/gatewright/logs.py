"""Structured logging with request ids and redaction of secrets.

JSON in production, colors at a terminal. Values are redacted by type (``SecretStr``, bytes), by key name, and by
content (tokens, API keys, ``password=...``). The audit log uses the same rules. A value cannot forge a log line:
control characters are escaped and sizes are bounded. ``structlog`` is imported on first use.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, TextIO
from uuid import UUID

HIDDEN = "[redacted]"
MAX_LENGTH = 2048
"""Characters kept of one value."""
MAX_ITEMS = 64
"""Entries kept of one list or mapping."""
MAX_DEPTH = 6

REQUEST_ID: ContextVar[str | None] = ContextVar("gatewright_request_id", default=None)
"""The id of the current request."""
_handler: logging.Handler | None = None

# Each alternative is linear: one repeated character class, nothing nested. Input is cut to MAX_LENGTH first.
_SECRET_VALUE = re.compile(
    r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]+\.?[\w-]*"  # a JWT
    r"|\bgw_[0-9A-Za-z]+_[0-9A-Za-z_-]{8,}"  # an API key of Gatewright
    r"|\bgw[rd]_[0-9A-Za-z_-]{16,}"  # a refresh token or device token of Gatewright
    r"|otpauth://\S+"
    r"|(?<![\w-])gAAAA[\w-]{20,}=*"  # a Fernet token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)"  # user and password in a URL
    r"|(?i:\b(?:bearer|basic)\s+[\w.~+/=-]{8,})"
    r"|(?i:(?<=password)|(?<=passwd)|(?<=secret)|(?<=token)|(?<=api_key)|(?<=apikey)|(?<=api-key)|(?<=mfa_code))"
    r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?[^\s\"'&,;]+"
)
_KIND = re.compile(r"[a-z0-9_-]+(?::[a-z0-9_-]+)*")
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_SECRET_MARKS = (
    *("eyj", "gw_", "gwr_", "gwd_", "otpauth:", "gaaaa", "private key", "://", "bearer", "basic"),
    *("passw", "secret", "token", "api_key", "apikey", "api-key", "mfa_code"),
)
"""A lower-cased text without any of these cannot match the expression."""

_SECRET_WORDS = frozenset(
    (
        *("password", "passwd", "pwd", "passphrase", "passcode", "pin", "secret", "secrets", "token", "tokens", "jwt"),
        *("authorization", "cookie", "cookies", "credential", "credentials", "otp", "totp", "otpauth", "csrf"),
        *("apikey", "privatekey", "secretkey"),
    )
)
_SECRET_PAIRS = frozenset(
    (
        *("api key", "private key", "secret key", "signing key", "encryption key", "root key", "data key"),
        *("fernet key", "fernet keys", "backup code", "backup codes", "recovery code", "recovery codes", "mfa code"),
        *("reset code", "provisioning uri", "qr code", "tax id", "bank account", "account number", "card number"),
    )
)
_HARMLESS_ENDINGS = frozenset(
    (
        *("id", "ids", "type", "kind", "count", "counts", "hours", "minutes", "seconds", "days", "at", "expires"),
        *("expiry", "length", "version", "algorithm", "ttl", "format", "age", "name", "names", "limit", "enabled"),
        *("required", "requests", "status", "remaining", "prefix"),
    )
)


# --- writing ----------------------------------------------------------------------------------------------------


class Log:
    """A logger of events with fields: ``log.info("key_rotated", key_id=...)``."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._write(logging.ERROR, event, fields, exc_info=True)

    def _write(self, level: int, event: str, fields: dict[str, Any], *, exc_info: bool = False) -> None:
        logger = logging.getLogger(self._name)
        if not logger.isEnabledFor(level):
            return
        shown = redact(fields)
        if _handler is None:  # embedded in another program: a plain line that any handler can format
            event = " ".join((redact_text(event), *(f"{key}={value!r}" for key, value in shown.items())))
            logger.log(level, "%s", event, exc_info=exc_info)
        else:
            logger.log(level, event, exc_info=exc_info, extra={"gatewright_fields": shown})


def get_logger(name: str) -> Log:
    """The logger of a module."""
    return Log(name)


def configure(
    *,
    level: str = "info",
    format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send the logs of the process to ``stream`` (default: standard error). For programs, not for libraries.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``auto`` is ``console`` at a terminal and ``json`` elsewhere.
    """
    global _handler
    import structlog

    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                _fields,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([] if console else [structlog.processors.format_exc_info]),
                _clean,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
    root.addHandler(handler)
    root.setLevel(level.upper())
    _handler = handler


@contextmanager
def bind_request(request_id: str) -> Iterator[None]:
    """Add a request id to every log line and error inside ``with bind_request(id):``."""
    token = REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        REQUEST_ID.reset(token)


def current_request_id() -> str | None:
    """The id of the current request, or None."""
    return REQUEST_ID.get()


def _fields(_: Any, __: str, event: Any) -> Any:
    """Add the fields of the event and the request id."""
    record = event.get("_record")
    fields = getattr(record, "gatewright_fields", None)
    if fields:
        for key, value in fields.items():
            event.setdefault(key, value)
    current = REQUEST_ID.get()
    if current is not None:
        event.setdefault("request_id", current)
    return event


def _clean(_: Any, __: str, event: Any) -> Any:
    """Redact a line, whichever library wrote it. Tracebacks may be long, but contain no local variables."""
    for key, value in event.items():
        if key in {"exception", "stack"} and isinstance(value, str):
            event[key] = _SECRET_VALUE.sub(HIDDEN, value[-8 * MAX_LENGTH :])
        elif key != "exc_info":
            event[key] = HIDDEN if is_secret_name(key) else redact(value)
    return event


def _json(event: Any, **_: Any) -> str:
    import msgspec

    return msgspec.json.encode(event, enc_hook=str).decode()


# --- redaction --------------------------------------------------------------------------------------------------


def redact(value: Any, *, depth: int = MAX_DEPTH) -> Any:
    """A copy of ``value`` for logs and the audit log: plain JSON, bounded, without secrets or control characters.

    Values of type ``SecretStr`` or bytes, values of keys such as ``password``, and parts of text that look like tokens
    are replaced. Other objects are reduced to their type, because a ``repr`` may reveal too much.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return redact_text(value.value if isinstance(value, Enum) else value)
    if isinstance(value, int | float):
        return value if -(2**63) <= value < 2**64 else redact_text(f"{value:.17g}")
    if isinstance(value, Enum):
        return redact(value.value, depth=depth)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)[:MAX_LENGTH]
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "get_secret_value"):
        return HIDDEN
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    if depth <= 0:
        return "[too deep]"
    if isinstance(value, Mapping):
        return _redact_mapping(value, depth)
    if hasattr(value, "__struct_fields__"):
        return _redact_mapping({name: getattr(value, name) for name in value.__struct_fields__}, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return _redact_list(value, depth)
    return f"[{type(value).__name__}]"


def plain_texts(values: Mapping[str, Any], *, nested: bool = True) -> list[str] | None:
    """The texts in ``values`` that remain to be checked for secrets, or None if :func:`redact` must be used.

    The fast path for most events: if :func:`may_contain_secret` is False for the texts, :func:`redact` would return an
    equal mapping. Such values are short, printable, and at most one mapping deep.
    """
    if len(values) > MAX_ITEMS:
        return None
    texts: list[str] = []
    for name, value in values.items():
        kind = type(value)
        if kind is str:
            if not _plain(value):
                return None
            texts.append(value)
        elif kind is list:
            if len(value) > MAX_ITEMS or not all(type(item) is str and _plain(item) for item in value):
                return None
            texts += value
        elif kind is dict and nested:
            inner = plain_texts(value, nested=False)
            if inner is None:
                return None
            texts += inner
        elif kind is int:
            if not -(2**63) <= value < 2**63:
                return None
        elif value is not None and kind is not bool and kind is not float:
            return None
        if not _plain_name(name):
            return None
    return texts


def _plain(text: str) -> bool:
    return len(text) <= MAX_LENGTH and text.isprintable()


@lru_cache(maxsize=4096)
def _plain_name(name: str) -> bool:
    """Whether neither the key nor its value needs redaction because of its name."""
    return len(name) <= 128 and name.isprintable() and not is_secret_name(name) and not may_contain_secret(name)


_SHORTEST_SECRET = 6


def may_contain_secret(text: str) -> bool:
    """False if nothing in ``text`` looks like a secret; True if it needs a full scan."""
    lower = text.lower()
    for mark in _SECRET_MARKS:  # noqa: SIM110 - twice as fast as any(), and every event comes through here
        if mark in lower:
            return True
    return False


def any_may_contain_secret(texts: Iterable[str]) -> bool:
    """:func:`may_contain_secret` for many texts at once. Texts too short for a secret are skipped."""
    return may_contain_secret("\n".join([text for text in texts if len(text) >= _SHORTEST_SECRET]))


def redact_text(text: str) -> str:
    """Cut to :data:`MAX_LENGTH`, replace what looks like a token, and escape control characters."""
    if len(text) > MAX_LENGTH:
        text = f"{hide_secrets(text[:MAX_LENGTH])}… ({len(text)} characters)"
    else:
        text = hide_secrets(text)
    return text if text.isprintable() else escape_control(text)


def clean_kind(kind: str) -> str:
    """The kind of an event, unchanged if well-formed (``auth:token:revoked`` contains no token), otherwise redacted."""
    return kind if len(kind) <= 128 and _KIND.fullmatch(kind) else redact_text(kind)


def hide_secrets(text: str) -> str:
    """Replace what looks like a token, and nothing else."""
    return _SECRET_VALUE.sub(HIDDEN, text) if may_contain_secret(text) else text


def mask_secrets(text: str) -> str:
    """Replace each character of a secret by ``*``, so that offsets in the text stay the same."""
    return _SECRET_VALUE.sub(lambda found: "*" * len(found[0]), text) if may_contain_secret(text) else text


def escape_control(text: str) -> str:
    """Escape control characters (C0, C1), separators, bidirectional controls and lone surrogates.

    Existing backslashes are kept.
    """
    return "".join(
        ch if ch.isprintable() or (ch.isspace() and ch >= "\xa0" and ch not in "\u2028\u2029") else _escaped(ch)
        for ch in text
    )


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a key of this name has a secret value: ``access_token`` does, ``token_type`` does not."""
    words = [word.lower() for word in _WORDS.findall(name[:128])]
    if not words:
        return False
    if not _SECRET_PAIRS.isdisjoint(map(" ".join, pairwise(words))):
        return words[-1] not in _HARMLESS_ENDINGS or " ".join(words[-2:]) in _SECRET_PAIRS
    return words[-1] not in _HARMLESS_ENDINGS and not _SECRET_WORDS.isdisjoint(words)


def _escaped(ch: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(ch)
    if short is not None:
        return short
    number = ord(ch)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _redact_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for count, (key, item) in enumerate(value.items()):
        if count == MAX_ITEMS:
            shown["…"] = f"{len(value) - MAX_ITEMS} more"
            break
        name = key if isinstance(key, str) else str(redact(key, depth=0))
        hidden = is_secret_name(name) and item is not None and not isinstance(item, bool)
        name = redact_text(name)[:128]
        shown[name] = HIDDEN if hidden else redact(item, depth=depth - 1)
    return shown


def _redact_list(value: Iterable[Any], depth: int) -> list[Any]:
    items = list(value)
    shown = [redact(item, depth=depth - 1) for item in items[:MAX_ITEMS]]
    if len(items) > MAX_ITEMS:
        shown.append(f"… {len(items) - MAX_ITEMS} more")
    return shown
