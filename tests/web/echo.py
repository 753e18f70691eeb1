"""An application behind the middleware that shows what it reads, so that it can be compared with what was sent."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse

from gatewright.foundation import SecurityFoundation
from gatewright.web import GatewrightMiddleware, PathRules, RouteRule

SCRIPT = "<script>alert(document.cookie)</script>"
SQL = "x' UNION SELECT email, password FROM accounts --"
XXE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
FORMULA = "=cmd|' /C calc'!A0"


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    request = Request(scope, receive)
    if scope["path"] == "/form":
        form = await request.form()
        items = [
            [name, base64.b64encode(await item.read()).decode(), item.filename]
            if isinstance(item, UploadFile)
            else [name, item]
            for name, item in form.multi_items()
        ]
        await JSONResponse({"items": items})(scope, receive, send)
        return
    body = await request.body()
    shown = {"body": base64.b64encode(body).decode(), "headers": dict(request.headers), "method": scope["method"]}
    if scope["path"] == "/json":
        shown["json"] = await request.json()
    await JSONResponse(shown)(scope, receive, send)


@asynccontextmanager
async def echo(foundation: SecurityFoundation, **rule: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which is open to all and inspected in block mode."""
    protected = GatewrightMiddleware(_echo, foundation, PathRules(default=RouteRule(auth="none", **rule)))
    transport = httpx.ASGITransport(protected, client=("198.51.100.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def code_of(answer: httpx.Response) -> tuple[int, str | None]:
    """The status, and the code of a refusal."""
    return answer.status_code, None if answer.status_code == 200 else answer.json()["code"]


def body_of(answer: httpx.Response) -> bytes:
    """The bytes that the application read."""
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["body"])


def part(headers: str, data: bytes, *, boundary: bytes = b"x") -> bytes:
    """A multipart body of one part."""
    return b"--" + boundary + b"\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n--" + boundary + b"--\r\n"
