"""The demo's marketplace: a resource of the platform's own, to see the whole way of a request."""

from __future__ import annotations

import secrets
import sqlite3
import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from gatewright.rbac import ManufacturerContext
from gatewright.storage.sqlite.engine import SqliteEngine
from gatewright.web.api import models
from gatewright.web.api.answers import answer, page
from gatewright.web.dependencies import requires

_SCHEMA = """
CREATE TABLE IF NOT EXISTS products (
    product_id TEXT PRIMARY KEY, manufacturer_id TEXT NOT NULL, body TEXT NOT NULL, created_at REAL NOT NULL
) STRICT
"""


class Products:
    """Products of the demo, in a file of their own: the foundation's store holds the foundation's state."""

    def __init__(self, path: str) -> None:
        self._engine = SqliteEngine(path)

    async def open(self) -> None:
        await self._engine.open(_prepare)

    async def close(self) -> None:
        await self._engine.close()

    async def add(self, manufacturer_id: str, product: dict[str, Any]) -> str:
        """Keep a product; the id is returned once it is safe on disk."""
        product_id = "prd_" + secrets.token_hex(8)
        row = (product_id, manufacturer_id, msgspec.json.encode(product).decode(), time.time())
        await self._engine.write(lambda c: c.execute("INSERT INTO products VALUES (?, ?, ?, ?)", row).rowcount)
        return product_id

    async def list(self, manufacturer_id: str, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Products of one manufacturer, by id."""
        sql = """SELECT product_id, body FROM products WHERE manufacturer_id = ? AND product_id > ?
                 ORDER BY product_id LIMIT ?"""
        rows = await self._engine.read(lambda c: c.execute(sql, (manufacturer_id, after, limit)).fetchall())
        return [{"product_id": product_id, **msgspec.json.decode(body)} for product_id, body in rows]

    async def count(self, manufacturer_id: str) -> int:
        sql = "SELECT count(*) FROM products WHERE manufacturer_id = ?"
        return await self._engine.read(lambda c: int(c.execute(sql, (manufacturer_id,)).fetchone()[0]))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(_SCHEMA)
    connection.execute("CREATE INDEX IF NOT EXISTS products_of ON products (manufacturer_id, product_id)")


Uploader = Annotated[
    ManufacturerContext,
    Depends(requires("upload_products", consumes="product_uploads", inspection="block")),
]
Caller = Annotated[ManufacturerContext, Depends(requires(audience="every signed-in person and every API key"))]


def router(products: Products) -> APIRouter:
    """``/demo/products``."""
    api = APIRouter(prefix="/demo", tags=["demo"])

    @api.post("/products", status_code=201)
    async def upload(product: models.Product, caller: Uploader) -> Response:
        """Upload a product: permission ``upload_products``, quota ``product_uploads``, inspected in block mode."""
        product_id = await products.add(caller.manufacturer_id, product.model_dump(exclude_none=True))
        return answer({"product_id": product_id}, 201)

    @api.get("/products")
    async def mine(
        caller: Caller,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """My products, by id."""
        found = await products.list(caller.manufacturer_id, after=after, limit=limit)
        cursor = found[-1]["product_id"] if len(found) == limit else None
        return answer({**page(found, cursor), "total": await products.count(caller.manufacturer_id)})

    return api
