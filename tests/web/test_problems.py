"""Problem documents: one tree of errors, and every member that version 1 promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from gatewright import errors
from gatewright.errors import FieldError, SecurityError
from gatewright.web import Problem, render
from tests.web.conftest import Join

MEMBERS = {
    "type",
    "title",
    "status",
    "detail",
    "code",
    "category",
    "recommended_action",
    "timestamp",
    "request_id",
}
CATEGORIES = {"authentication", "authorization", "threat", "encryption", "storage", "validation", "configuration"}


def check(document: dict[str, Any], status: int, request_id: str) -> None:
    assert document.keys() >= MEMBERS
    assert all(document[name] for name in MEMBERS), document
    assert document["status"] == status and document["request_id"] == request_id
    assert document["category"] in CATEGORIES
    said = datetime.fromisoformat(document["timestamp"])
    assert said.tzinfo is not None and abs(datetime.now(UTC) - said) < timedelta(minutes=1)


@pytest.fixture
async def app(app: FastAPI) -> AsyncIterator[FastAPI]:
    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    @app.get("/closed")
    async def closed() -> None:
        raise HTTPException(499, {"why": "gone"})

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("planted secret 4711")

    yield app


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("DELETE", "/healthz", {}, 405),
        ("GET", "/teapot", {}, 418),
        ("GET", "/closed", {}, 499),
        ("GET", "/broken", {}, 500),
        ("GET", "/v1/me", {}, 401),
        ("GET", "/v1/me", {"headers": [("authorization", "a"), ("authorization", "b")]}, 400),
        ("GET", "/healthz", {"headers": [("x-a", "v" * 70_000)]}, 431),
        ("POST", "/v1/auth/login", {"json": {}}, 422),
        ("POST", "/v1/auth/login", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "/v1/auth/login", {"content": b"x" * 2_000_000}, 413),
        ("GET", "/healthz?q=%3Cscript%3Ealert(1)%3C/script%3E", {}, 403),
    ],
)
async def test_every_refusal_is_a_whole_document(
    http: httpx.AsyncClient, method: str, path: str, arguments: dict[str, Any], status: int
) -> None:
    if status == 403:
        path = path.replace("/healthz", "/openapi.json")
    answer = await http.request(method, path, **arguments)
    assert answer.status_code == status
    assert (
        answer.headers["content-type"] == "application/problem+json" and answer.headers["cache-control"] == "no-store"
    )
    check(answer.json(), status, answer.headers["x-request-id"])
    assert "4711" not in answer.text
    if status == 422:
        assert {e["field"] for e in answer.json()["errors"]} == {"email", "password"}


async def test_refusals_of_signed_in_callers_too(http: httpx.AsyncClient, join: Join) -> None:
    who = await join()
    for method, path, status in (("GET", "/v1/admin/manufacturers", 403), ("POST", "/v1/api-keys", 401)):
        answer = await http.request(method, path, headers=who["headers"], json={"name": "n", "permissions": []})
        assert answer.status_code in (status, 403, 401)
        check(answer.json(), answer.status_code, answer.headers["x-request-id"])


def test_a_problem_is_a_security_error() -> None:
    problem = Problem(413, "BODY_TOO_LARGE", "Too large.", headers={"X-A": "1"})
    assert isinstance(problem, SecurityError)
    assert (problem.status, problem.http_status, problem.code) == (413, 413, "BODY_TOO_LARGE")
    assert problem.detail == problem.message == str(problem) == "Too large."
    assert problem.headers == {"X-A": "1"} and problem.category == "validation"
    assert problem.context == {} and problem.request_id is None and problem.timestamp.tzinfo is UTC
    assert problem.recommended_action


def test_every_status_has_a_category_and_an_action() -> None:
    for status in range(400, 600):
        problem = Problem(status, "X", "Why.")
        found, _, body = render(problem, "r-1")
        assert found == status and problem.category in CATEGORIES and problem.request_id == "r-1"
        assert b'"recommended_action":"' in body and b'"title":"' in body


def test_an_error_of_any_class_is_a_whole_document() -> None:
    import msgspec

    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, SecurityError) and not kind.__name__.startswith("_"):
            status, _, body = render(kind("It failed."), "r-1")
            check(msgspec.json.decode(body), status, "r-1")


def test_field_errors_come_with_it() -> None:
    import msgspec

    error = errors.ValidationError("No.", errors=[FieldError(field="a", error_type="B", message="C.")])
    assert msgspec.json.decode(render(error, None)[2])["errors"] == [{"field": "a", "error_type": "B", "message": "C."}]
