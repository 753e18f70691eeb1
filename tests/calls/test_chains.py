"""How many calls the way of one request takes: what a reader follows, and what every request pays for."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel, SecretStr

from gatewright import SecurityFoundation, Settings, install, requires
from gatewright.web import Authenticator, ClientReader, RequestState
from tests.support.calls import counted_calls

PASSWORD = "gravel-otter-lantern-4471"
PRODUCT = {
    "name": "Hex bolt M8 x 40",
    "sku": "HB-M8-40",
    "description": "Zinc-plated steel, sold in boxes of 200.",
    "price_cents": 1_290,
}

Post = Callable[[], Awaitable[int]]


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


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    keys = {name: SecretStr(name[0] * 64) for name in ("secret_key", "encryption_key")}
    settings = Settings(data_dir=tmp_path, argon2_memory_kib=8, argon2_time_cost=1, **keys)
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


def shown(calls: list[str]) -> str:
    return f"{len(calls)} calls:\n" + "\n".join(calls)


async def test_one_warm_request(running: Running) -> None:
    for _ in range(20):
        assert await running.post() == 201
    with counted_calls() as calls:
        assert await running.post() == 201
    assert len(calls) <= 110, shown(calls)


async def test_token_to_caller(running: Running) -> None:
    authenticator = Authenticator(running.foundation.auth)
    scope = running.scope()
    fields = dict(scope["headers"])
    reader = ClientReader(())
    for _ in range(2):
        state = RequestState(request_id="r" * 32, client=reader.read(scope, fields), fields=fields)
        with counted_calls() as calls:
            await authenticator.authenticate(state, required=True)
        assert state.caller is not None
    assert len(calls) <= 14, shown(calls)


async def test_body_to_verdict(running: Running) -> None:
    """From the first byte that is read of the body to the last word of the detector."""
    for _ in range(3):
        with counted_calls() as calls:
            assert await running.post() == 201
    begin = next(i for i, call in enumerate(calls) if call.startswith("web.body"))
    end = max(
        i for i, call in enumerate(calls) if call.startswith(("threats.", "web.inspection", "web.headers.HeaderReader"))
    )
    chain = calls[begin : end + 1]
    assert "threats.engine.DetectionEngine.inspect" in chain
    assert len(chain) <= 30, shown(chain)
    body = [call for call in chain if call.startswith("web.body")]
    assert len(body) <= 6, shown(body)


async def test_unit_to_row(running: Running) -> None:
    """A unit that is counted in the store, of a manufacturer whose entitlements are cached."""
    foundation = running.foundation
    (account,) = [a for a in await foundation.store.list_manufacturers() if a.manufacturer_id != "platform"]
    for _ in range(2):
        with counted_calls() as calls:
            assert (await foundation.rbac.check_usage_limit(account.manufacturer_id, "product_uploads", 1)).allowed
    assert "storage.sqlite.engine.SqliteEngine.start_write" in calls
    assert len(calls) <= 25, shown(calls)
