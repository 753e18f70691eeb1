"""The three servers that ``bench.middleware`` compares: one application, three guards in front of it.

Run by the benchmark: ``python -m bench._middleware_apps KIND SOCKET_FD DIRECTORY``. No ``from __future__ import
annotations`` here: FastAPI could not read those of functions inside functions.
"""

import asyncio
import json
import logging
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import casbin
import jwt
import uvicorn
import uvloop
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field, SecretStr

from gatewright.auth import ClientInfo
from gatewright.foundation import SecurityFoundation
from gatewright.policy import load_policy
from gatewright.rbac import ManufacturerContext
from gatewright.settings import Settings
from gatewright.web import install, requires

TENANTS = 32
"""Manufacturers that call in turn: each stays within its tier's limits."""
PERMISSION, RESOURCE = "upload_products", "api_calls"
PASSWORD = "gravel-otter-lantern-4471"
CASBIN_MODEL = """
[request_definition]
r = sub, dom, obj
[policy_definition]
p = sub, dom, obj
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj
"""


class Product(BaseModel):
    """What is posted."""

    name: Annotated[str, Field(max_length=200)]
    description: Annotated[str, Field(max_length=5_000)] = ""
    sku: Annotated[str, Field(max_length=64)]
    price_cents: Annotated[int, Field(ge=0)]


def served(product: Product) -> Response:
    """What every one of them answers."""
    return Response(b'{"product_id":"prd_' + product.sku.encode() + b'"}', 201, media_type="application/json")


def bare(_: Path) -> FastAPI:
    """The application by itself."""
    app = FastAPI(openapi_url=None)

    @app.post("/products")
    async def upload(product: Product) -> Response:
        return served(product)

    return app


def gatewright(directory: Path) -> FastAPI:
    """Behind the whole of Gatewright: durable store on disk, audit log, sessions checked."""
    keys = {name: SecretStr(secrets.token_hex(32)) for name in ("secret_key", "encryption_key")}
    foundation = SecurityFoundation(Settings(data_dir=directory, argon2_memory_kib=8, argon2_time_cost=1, **keys))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with foundation:
            (directory / "tokens.json").write_text(json.dumps(await _people(foundation)))
            yield

    app = FastAPI(openapi_url=None, lifespan=lifespan)

    @app.post("/products")
    async def upload(
        product: Product,
        _: Annotated[ManufacturerContext, Depends(requires(PERMISSION, consumes=RESOURCE, inspection="block"))],
    ) -> Response:
        return served(product)

    install(app, foundation)
    return app


async def _people(foundation: SecurityFoundation) -> list[str]:
    """Manufacturers that are signed in; their access tokens."""
    tokens = []
    for number in range(TENANTS):
        email = f"owner{number}@example.com"
        data = {"email": email, "password": PASSWORD, "company_name": f"Company {number}", "tier": "enterprise"}
        await foundation.auth.register_manufacturer(data)
        client = ClientInfo(ip_address="127.0.0.1", user_agent="bench")
        tokens.append((await foundation.auth.authenticate_manufacturer(email, PASSWORD, client=client)).access_token)
    return [token for token in tokens if token is not None]


def stack(directory: Path, *, inspect: bool = True) -> FastAPI:
    """Behind PyJWT, pycasbin, slowapi (rate and quota, in memory), a line of log, and fastapi-guard."""
    from slowapi import Limiter
    from slowapi.errors import RateLimitExceeded

    secret = secrets.token_bytes(32)
    (directory / "tokens.json").write_text(json.dumps([_pyjwt(secret, number) for number in range(TENANTS)]))
    enforcer = _casbin()
    limiter = Limiter(key_func=lambda request: str(request.state.claims["manufacturer_id"]))
    log = _log(directory / "events.jsonl")
    app = FastAPI(openapi_url=None)
    app.state.limiter = limiter

    async def caller(request: Request) -> dict[str, Any]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims: dict[str, Any] = jwt.decode(
                token, secret, ["HS256"], audience="bench", issuer="bench", options={"require": ["exp", "iat", "sub"]}
            )
        except jwt.PyJWTError:
            raise HTTPException(401) from None
        if scheme != "Bearer" or not enforcer.enforce("owner", claims["manufacturer_id"], PERMISSION):
            raise HTTPException(403)
        request.state.claims = claims
        return claims

    async def too_many(_: Request, __: Exception) -> Response:
        return Response(status_code=429)

    @app.post("/products")
    @limiter.limit("12000/minute;100000/month")
    async def upload(request: Request, product: Product, known: Annotated[dict[str, Any], Depends(caller)]) -> Response:
        log.info(json.dumps({"at": time.time(), "manufacturer_id": known["manufacturer_id"], "path": "/products"}))
        return served(product)

    app.add_exception_handler(RateLimitExceeded, too_many)
    if inspect:
        _guard(app)
    return app


def unguarded(directory: Path) -> FastAPI:
    """The stack without fastapi-guard: nothing is inspected."""
    return stack(directory, inspect=False)


def _guard(app: FastAPI) -> None:
    from guard import SecurityConfig
    from guard.asgi import PureASGISecurityMiddleware  # the quicker of its two

    logging.getLogger("guard_core").setLevel(logging.ERROR)
    config = SecurityConfig(
        enable_redis=False,
        enable_penetration_detection=True,
        enable_rate_limiting=False,  # slowapi counts
        enable_ip_banning=False,
        log_suspicious_level=None,
        log_request_level=None,
    )
    app.add_middleware(PureASGISecurityMiddleware, config=config)


def _casbin() -> Any:
    model = casbin.Model()
    model.load_model_from_text(CASBIN_MODEL)
    enforcer = casbin.Enforcer(model)
    for number in range(TENANTS):
        for permission in sorted(load_policy().permissions_of_tier("enterprise")):
            enforcer.add_policy("enterprise", f"m{number}", permission)
        enforcer.add_grouping_policy("owner", "enterprise", f"m{number}")
    return enforcer


def _pyjwt(secret: bytes, number: int) -> str:
    now = int(time.time())
    claims = {"sub": f"acc{number}", "manufacturer_id": f"m{number}", "email": f"owner{number}@example.com"}
    times = {"iat": now, "nbf": now, "exp": now + 3600, "iss": "bench", "aud": "bench", "jti": secrets.token_hex(16)}
    return jwt.encode({**claims, "tier": "enterprise", "roles": ["manufacturer_enterprise"], **times}, secret, "HS256")


def _log(path: Path) -> logging.Logger:
    log = logging.getLogger("bench.events")
    log.addHandler(logging.FileHandler(path))
    log.setLevel(logging.INFO)
    log.propagate = False
    return log


KINDS: dict[str, Callable[[Path], FastAPI]] = {
    "bare": bare,
    "gatewright": gatewright,
    "stack": stack,
    "stack without inspection": unguarded,
}


OPTIONS: dict[str, Any] = {"log_config": None, "access_log": False, "proxy_headers": False, "server_header": False}
"""Of uvicorn, as ``gatewright serve`` sets them."""


def main() -> None:
    kind, descriptor, directory = sys.argv[1:]
    listener = socket.socket(fileno=int(descriptor))
    config = uvicorn.Config(KINDS[kind](Path(directory)), **OPTIONS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
