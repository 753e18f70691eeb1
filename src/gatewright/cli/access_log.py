"""Access logs and JSON lines, gzip-compressed or not, read line by line."""

from __future__ import annotations

import gzip
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from gatewright.errors import ValidationError
from gatewright.records import Record
from gatewright.web.inspection import without
from gatewright.web.rules import DEFAULT

_MAGIC = b"\x1f\x8b"


def decompressed(raw: BufferedReader) -> BufferedReader | gzip.GzipFile:
    """``raw``, decompressed if it starts with the gzip magic number (RFC 1952)."""
    return gzip.open(raw) if raw.peek(len(_MAGIC)).startswith(_MAGIC) else raw


@contextmanager
def corruption_reported(file: Path) -> Iterator[None]:
    """Raise corrupted gzip data as a ValidationError that names the file."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValidationError(f"{file}: corrupted gzip data ({error}).") from None


MAX_FIELDS = 1_000
"""Query fields that are inspected, as in the middleware."""

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")
_PLAIN_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "b": "\b"}

# Lower-cased field names in the JSON logs of nginx, Caddy, Traefik, Envoy and Gatewright.
_NAMES = {
    "target": ("request_uri", "uri", "requestpath", "url", "target", "path", "x-envoy-original-path"),
    "method": ("request_method", "method", "requestmethod"),
    "client": ("remote_addr", "client_ip", "remote_ip", "clienthost", "client", "ip_address", "ip"),
    "status": ("status", "downstreamstatus", "response_code", "status_code"),
    "time": ("time_iso8601", "time_local", "timestamp", "time", "ts", "starttime"),
    "query": ("args", "query_string", "query"),
    "referer": ("http_referer", "referer", "referrer", "request_referer"),
    "user-agent": ("http_user_agent", "user_agent", "user-agent", "request_user-agent"),
    "body": ("request_body", "body", "payload"),
}


class LoggedRequest(Record, frozen=True, kw_only=True):
    """One request of a log. ``value`` is what is inspected: path, query, headers, body, as the middleware has them.

    ``path`` is empty where the line names no target. All is as it was written, control characters and lone surrogates
    (bytes that are no UTF-8) included.
    """

    client: str = "-"
    time: str = "-"
    method: str = "-"
    target: str = ""
    status: str = "-"
    path: str = ""
    value: Any = None


class NotARequest(ValueError):
    """The line is no request of a known form."""


def parse(line: bytes, form: str = "auto") -> LoggedRequest:
    """Read one line.

    Args:
        form: ``combined`` (Common and Combined Log Format of Apache and nginx), ``json``, or ``auto``, which
            takes a line that begins with ``{`` for JSON.

    Raises:
        NotARequest: the line is neither.
    """
    line = line.removeprefix(BOM_UTF8)
    if form == "json" or (form == "auto" and line.lstrip()[:1] == b"{"):
        try:
            return _from_json(line)
        except RecursionError:
            raise NotARequest("nested too deep") from None
    return _from_combined(line.decode("utf-8", "surrogateescape"))


def _from_combined(line: str) -> LoggedRequest:
    """``client ident user [time] "METHOD target HTTP/1.1" status bytes "referer" "user agent"``"""
    closing = line.find('] "')
    opening = line.rfind("[", 0, max(0, closing))  # a user name, which anyone may send, can have brackets in it
    quoted, after = _quoted(line, closing + 1)
    if opening < 0 or quoted is None:
        raise NotARequest("neither Common nor Combined Log Format")
    rest = line[after:].split(maxsplit=2)
    referer, after = _quoted(line, after)
    agent, _ = _quoted(line, after)
    method, target = _request_line(quoted)
    value = request_value(target, headers={"referer": referer, "user-agent": agent})
    return LoggedRequest(
        client=line.split(maxsplit=1)[0] if line[:1].strip() else "-",
        time=line[opening + 1 : closing],
        method=method,
        target=target,
        status=rest[0] if rest else "-",
        path=value["path"],
        value=value,
    )


def _quoted(line: str, start: int) -> tuple[str | None, int]:
    """The next double-quoted text from ``start``, unescaped, and the offset of its end."""
    begin = line.find('"', start)
    if begin < 0:
        return None, len(line)
    end = line.find('"', begin + 1)
    while end > 0 and _escaped(line, end, begin):
        end = line.find('"', end + 1)
    if end < 0:
        return None, len(line)
    text = line[begin + 1 : end]
    return (_unescaped(text) if "\\" in text else text), end + 1


def _escaped(line: str, position: int, begin: int) -> bool:
    """Whether the character at ``position`` is escaped by an odd number of backslashes."""
    count = 0
    while position - 1 - count > begin and line[position - 1 - count] == "\\":
        count += 1
    return count % 2 == 1


def _unescaped(text: str) -> str:
    """Undo the escapes of the server. Escaped bytes beyond ASCII are UTF-8."""
    plain = _ESCAPE.sub(_unescape, text)
    return plain.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _unescape(found: re.Match[str]) -> str:
    if found[1] is not None:
        return bytes((int(found[1], 16),)).decode("ascii", "surrogateescape")
    return _PLAIN_ESCAPES.get(found[2], found[2])


def _request_line(text: str) -> tuple[str, str]:
    """Method and target. A malformed line (binary data, TLS sent to a plain port) is all target."""
    parts = text.split(" ")
    if len(parts) >= 2 and parts[0].isalpha() and parts[0].isupper():
        target = " ".join(parts[1:-1] if parts[-1].startswith("HTTP/") else parts[1:])
        return parts[0], target
    return "-", text


def _from_json(line: bytes) -> LoggedRequest:
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotARequest("not valid JSON") from None
    if not isinstance(entry, dict):
        raise NotARequest("not a JSON object")
    fields = {str(name).lower(): value for name, value in entry.items()}
    request = fields.get("request")
    headers: Mapping[str, Any] = {}
    if isinstance(request, dict):  # Caddy: {"request": {"remote_ip", "method", "uri", "headers": {...}}}
        fields |= {str(name).lower(): value for name, value in request.items()}
    if isinstance(fields.get("headers"), dict):
        headers = {str(name).lower(): value for name, value in fields["headers"].items()}
    found = {part: _first(fields, names) for part, names in _NAMES.items()}
    if isinstance(request, str):
        found["method"], found["target"] = _request_line(request)
    if found["target"] is None and found["query"] is None:
        return LoggedRequest(client=_text(found["client"]), time=_text(found["time"]), value=entry)
    target = "" if found["target"] is None else str(found["target"])
    value = request_value(
        target,
        query=found["query"],
        headers={name: headers.get(name, found[name]) for name in ("referer", "user-agent")},
        body=found["body"],
    )
    return LoggedRequest(
        client=_text(found["client"]),
        time=_text(found["time"]),
        method=_text(found["method"]),
        target=target,
        status=_text(found["status"]),
        path=value["path"],
        value=value,
    )


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "", "-")), None)


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def request_value(target: str, *, query: Any = None, headers: Mapping[str, Any], body: Any = None) -> dict[str, Any]:
    """The value that the middleware would inspect for such a request."""
    path, _, inline = target.partition("?")
    if "://" in path:
        try:
            parts = urlsplit(target)
        except ValueError:
            pass  # a malformed URL is inspected as is
        else:
            path, inline = parts.path, parts.query
    value: dict[str, Any] = {"path": unquote(path, errors="surrogateescape")}
    asked = inline or query
    if isinstance(asked, str) and asked:
        value["query"] = _query(asked)
    elif asked:
        value["query"] = asked
    named = {name: text for name, text in headers.items() if text not in (None, "", "-")}
    if named:
        value["headers"] = named
    if body is not None:
        value["body"] = _body(body)
    return value


def _query(text: str) -> Any:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="surrogateescape")
    except ValueError:
        return unquote(text, errors="surrogateescape")
    fields: dict[str, Any] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields or unquote(text, errors="surrogateescape")


def _body(body: Any) -> Any:
    """Parse a body that was logged as JSON text. Passwords in it are not inspected."""
    if isinstance(body, str) and body.lstrip()[:1] in ("{", "["):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return body
    return without(body, DEFAULT.exclude)
