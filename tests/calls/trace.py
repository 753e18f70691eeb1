"""Three chains of calls, traced from a running application: token to caller, body to verdict, unit to row.

    python -m tests.calls.trace

writes them into ``docs/explanation/architecture.md``; the tests beside this module say when that is due.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel, SecretStr

from gatewright import SecurityFoundation, Settings, install, requires
from gatewright.web import Authenticator, ClientReader, RequestState
from tests.docs.pages import DOCS, replace_section
from tests.support.calls import counted_calls

PAGE = DOCS / "explanation" / "architecture.md"
PASSWORD = "gravel-otter-lantern-4471"
PRODUCT = {
    "name": "Hex bolt M8 x 40",
    "sku": "HB-M8-40",
    "description": "Zinc-plated steel, sold in boxes of 200.",
    "price_cents": 1_290,
}
LIMITS = {"warm request": 110, "token to caller": 14, "body to verdict": 30, "unit to row": 25}
"""Calls inside Gatewright at most."""


class Product(BaseModel):
    name: str
    sku: str
    description: str
    price_cents: int


class Running:
    """An application behind the middleware, called without a server in between."""

    def __init__(self, foundation: SecurityFoundation, app: FastAPI, token: str) -> None:
        self.foundation, self.app, self.token = foundation, app, token
        self.body = json.dumps(PRODUCT).encode()

    def scope(self) -> dict[str, Any]:
        headers = [
            (b"host", b"api.example.com"),
            (b"authorization", f"Bearer {self.token}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"user-agent", b"catalogue-sync/2.1"),
        ]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": "/products",
            "raw_path": b"/products",
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("203.0.113.9", 52_011),
            "server": ("api.example.com", 443),
        }

    async def post(self) -> int:
        sent: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])

        await self.app(self.scope(), receive, send)
        return sent[0]


@asynccontextmanager
async def running_application(directory: Path) -> AsyncIterator[Running]:
    """A foundation on disk, an application with one route behind the middleware, and someone who is signed in."""
    keys = {name: SecretStr(name[0] * 64) for name in ("secret_key", "encryption_key")}
    settings = Settings(data_dir=directory, argon2_memory_kib=8, argon2_time_cost=1, **keys)
    async with SecurityFoundation(settings) as foundation:
        app = FastAPI(openapi_url=None)

        @app.post(
            "/products",
            status_code=201,
            dependencies=[Depends(requires("upload_products", consumes={"product_uploads": 1}))],
        )
        async def upload(product: Product) -> Response:
            return Response(b"{}", 201, media_type="application/json")

        install(app, foundation)
        await foundation.auth.register_manufacturer(
            {"email": "owner@acme.example", "password": PASSWORD, "company_name": "Acme Bolts", "tier": "professional"}
        )
        signed_in = await foundation.auth.authenticate_manufacturer("owner@acme.example", PASSWORD)
        assert signed_in.access_token is not None
        yield Running(foundation, app, signed_in.access_token)


async def warm_request(running: Running) -> list[str]:
    """One POST of many. Events of earlier requests are stored before, so that the calls are this request's own."""
    for _ in range(20):
        assert await running.post() == 201
    await running.foundation.monitor.flush()
    with counted_calls() as calls:
        assert await running.post() == 201
    return calls


async def token_to_caller(running: Running) -> list[str]:
    """From the header to the caller, of a token that was verified before."""
    authenticator = Authenticator(running.foundation.auth)
    scope = running.scope()
    fields = dict(scope["headers"])
    reader = ClientReader(())
    for _ in range(2):
        state = RequestState(request_id="r" * 32, client=reader.read(scope, fields), fields=fields)
        with counted_calls() as calls:
            await authenticator.authenticate(state, required=True)
        assert state.caller is not None
    return calls


async def body_to_verdict(running: Running) -> list[str]:
    """From the first byte read of the body to the last call of the detector."""
    calls = await warm_request(running)
    begin = next(i for i, call in enumerate(calls) if call.startswith("web.body"))
    last = ("threats.", "web.inspection", "web.headers.HeaderReader")
    end = max(i for i, call in enumerate(calls) if call.startswith(last))
    return calls[begin : end + 1]


async def unit_to_row(running: Running) -> list[str]:
    """A unit that is counted in the store, of a manufacturer whose entitlements are cached."""
    foundation = running.foundation
    (account,) = [a for a in await foundation.store.list_manufacturers() if a.manufacturer_id != "platform"]
    for _ in range(2):
        with counted_calls() as calls:
            assert (await foundation.rbac.check_usage_limit(account.manufacturer_id, "product_uploads", 1)).allowed
    return calls


CHAINS = {"token to caller": token_to_caller, "body to verdict": body_to_verdict, "unit to row": unit_to_row}


def table(calls: list[str]) -> str:
    """The calls in order, each with the first sentence of its documentation."""
    rows = [f"| {number} | `{call}` | {_purpose(call)} |" for number, call in enumerate(calls, start=1)]
    return "\n".join(["| | call | what it does |", "|---|---|---|", *rows])


def _purpose(call: str) -> str:
    module, parts = "gatewright", call.split(".")
    found: Any = None
    for position, part in enumerate(parts):
        if found is None:
            try:
                importlib.import_module(f"{module}.{part}")
                module = f"{module}.{part}"
                continue
            except ModuleNotFoundError:
                found = importlib.import_module(module)
        found = getattr(found, part, None)
        if found is None:
            return "" if position else module
    if parts[-1] == "__init__":
        return ""
    text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split()).replace("|", "\\|")
    return text.split(". ")[0].rstrip(".")


async def main() -> None:
    """Write every chain again."""
    with tempfile.TemporaryDirectory() as directory:
        async with running_application(Path(directory)) as running:
            for name, trace in CHAINS.items():
                replace_section(PAGE, name, table(await trace(running)))
    print(f"{PAGE} was written.")


if __name__ == "__main__":
    asyncio.run(main())
