"""The HTTP service: the API on FastAPI, behind the middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gatewright._version import __version__
from gatewright.errors import FieldError, ValidationError
from gatewright.foundation import SecurityFoundation
from gatewright.web.access import document as document_access
from gatewright.web.api import account, admin, auth, health, members, mfa, security, usage
from gatewright.web.api.models import json_response
from gatewright.web.dependencies import open_to_all
from gatewright.web.etag import ETags
from gatewright.web.middleware import GatewrightMiddleware
from gatewright.web.problems import Problem, render
from gatewright.web.request import KEY
from gatewright.web.rules import RouterRules

ROUTERS: tuple[Callable[[SecurityFoundation], Any], ...] = (
    health.router,
    auth.router,
    account.router,
    mfa.router,
    usage.router,
    members.router,
    security.router,
    admin.router,
)


def install(app: FastAPI, foundation: SecurityFoundation, *, idempotency: bool = False) -> None:
    """Put the foundation in front of a FastAPI application: rules come from its routes' own dependencies,
    and every error answers as a problem document.

    Args:
        app: its routes may still be added afterwards.
        foundation: opened with the application, or before it.
        idempotency: whether a POST with an ``Idempotency-Key`` that is sent again gets its first answer.
    """
    app.add_middleware(GatewrightMiddleware, foundation=foundation, rules=RouterRules(app), idempotency=idempotency)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def create_app(foundation: SecurityFoundation, *, demo: bool = False) -> FastAPI:
    """The service over a foundation; it opens and closes the foundation with itself.

    Args:
        foundation: built, not yet opened.
        demo: add ``/demo/products`` with its demo manufacturer and admin.

    Raises:
        ConfigurationError: a route does not say who may call it.
    """
    parts: list[Any] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await foundation.initialize()
        for part in parts:
            await part.open()
        try:
            yield
        finally:
            for part in reversed(parts):
                await part.close()
            await foundation.close()

    app = FastAPI(
        title="Gatewright",
        version=__version__,
        description="The security foundation for business-to-business APIs.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the way there would be built from the Host header, which the caller writes
        lifespan=lifespan,
        openapi_url=None,  # served below, by a route that says who may call it
    )
    for make in ROUTERS:
        app.include_router(make(foundation))
    if demo:
        from gatewright.web.demo import Products, router

        products = Products(str(foundation.settings.data_dir / "demo.db"))
        parts.append(products)
        app.include_router(router(products))

    @app.get("/openapi.json", include_in_schema=False, dependencies=[Depends(open_to_all())])
    async def openapi() -> Response:
        """This document."""
        return json_response(app.openapi())

    document_access(app)
    app.add_middleware(ETags)
    install(app, foundation, idempotency=True)
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    """Render FastAPI's validation errors of a body or query as field errors."""
    if not isinstance(error, RequestValidationError):
        raise error
    state = request.scope.get(KEY)
    if state is not None and _was_raised_by_fastapi(error):
        state.not_run = True
    errors = [_field_error(found) for found in error.errors()[:50]]
    fields = ", ".join(dict.fromkeys(e.field for e in errors))
    refused = ValidationError(f"Correct these fields and try again: {fields}.", errors=errors)
    status, headers, body = render(refused, _request_id(request))
    return Response(body, status, headers=headers)


def _was_raised_by_fastapi(error: BaseException) -> bool:
    """Whether FastAPI itself refused the request, before the endpoint ran.

    An endpoint may raise the same class after it has done its work, and its caller owes the quota for that.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == "fastapi.routing"


def _field_error(found: dict[str, Any]) -> FieldError:
    field = ".".join(str(part) for part in found["loc"][1:]) or str(found["loc"][0])
    kind = found["type"]
    if kind == "missing":
        return FieldError(field=field, error_type="MISSING_FIELD", message=f"{field} is required.")
    if kind == "extra_forbidden":
        return FieldError(field=field, error_type="UNKNOWN_FIELD", message="Unknown field. Remove it.")
    return FieldError(field=field, error_type=kind.upper(), message=f"{found['msg']}.")


async def _http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (404, 405) as problem documents."""
    if not isinstance(error, HTTPException):
        raise error
    known = {
        404: ("NOT_FOUND", "Nothing is at this path; see /openapi.json for what there is."),
        405: ("METHOD_NOT_ALLOWED", "This path does not take this method; see the Allow header."),
    }
    code, detail = known.get(error.status_code, ("HTTP_ERROR", str(error.detail)))
    status, headers, body = render(
        Problem(error.status_code, code, detail, headers=dict(error.headers or {})), _request_id(request)
    )
    return Response(body, status, headers=headers)


def _request_id(request: Request) -> str | None:
    state = request.scope.get(KEY)
    return None if state is None else state.request_id
