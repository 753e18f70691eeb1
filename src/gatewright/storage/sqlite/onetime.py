"""One-time secrets in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.clock import CLOCK_SKEW
from gatewright.storage.onetime import OneTimeSecret
from gatewright.storage.sqlite.base import SqliteBase

_FIELDS = "key, purpose, subject, data, attempts, created_at, expires_at"
_LIVE = "purpose = ? AND key = ? AND expires_at > ? AND created_at <= ?"


class SqliteOneTime(SqliteBase):
    """The OneTimeStore slice."""

    async def put_one_time(self, secret: OneTimeSecret) -> None:
        row = (
            secret.key,
            secret.purpose,
            secret.subject,
            _json(secret.data),
            secret.attempts,
            secret.created_at.timestamp(),
            secret.expires_at.timestamp(),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"INSERT INTO one_time_secrets ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - constant
            connection.execute(
                "DELETE FROM one_time_secrets WHERE (purpose, key) IN"
                " (SELECT purpose, key FROM one_time_secrets WHERE expires_at < ? LIMIT 4)",
                (secret.created_at.timestamp(),),
            )

        await self.engine.write(work)

    async def get_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        sql = f"SELECT {_FIELDS} FROM one_time_secrets WHERE {_LIVE}"  # noqa: S608 - constant
        row = await self.engine.read(lambda c: c.execute(sql, (purpose, key, *_around(now))).fetchone())
        return _secret(row)

    async def attempt_one_time(self, purpose: str, key: str, *, now: datetime, limit: int) -> OneTimeSecret | None:
        sql = f"UPDATE one_time_secrets SET attempts = attempts + 1 WHERE {_LIVE} AND attempts < ? RETURNING {_FIELDS}"  # noqa: S608 - constant
        values = (purpose, key, *_around(now), limit)
        return _secret(await self.engine.write(lambda c: c.execute(sql, values).fetchone()))

    async def take_one_time(self, purpose: str, key: str, *, now: datetime) -> OneTimeSecret | None:
        sql = f"DELETE FROM one_time_secrets WHERE {_LIVE} RETURNING {_FIELDS}"  # noqa: S608 - constant
        values = (purpose, key, *_around(now))
        return _secret(await self.engine.write(lambda c: c.execute(sql, values).fetchone()))

    async def drop_one_time(self, purpose: str, subject: str) -> int:
        sql = "DELETE FROM one_time_secrets WHERE purpose = ? AND subject = ?"
        return await self.engine.write(lambda c: c.execute(sql, (purpose, subject)).rowcount)

    async def list_one_time(self, purpose: str, *, after: str = "", limit: int = 100) -> list[OneTimeSecret]:
        sql = f"SELECT {_FIELDS} FROM one_time_secrets WHERE purpose = ? AND key > ? ORDER BY key LIMIT ?"  # noqa: S608 - constant
        rows = await self.engine.read(lambda c: c.execute(sql, (purpose, after, limit)).fetchall())
        return [secret for row in rows if (secret := _secret(row)) is not None]

    async def replace_one_time(
        self, purpose: str, key: str, *, expected: Mapping[str, Any], data: Mapping[str, Any]
    ) -> bool:
        sql = "UPDATE one_time_secrets SET data = ? WHERE purpose = ? AND key = ? AND data = ?"
        values = (_json(data), purpose, key, _json(expected))
        return await self.engine.write(lambda c: c.execute(sql, values).rowcount == 1)


def _around(now: datetime) -> tuple[float, float]:
    """The earliest end and the latest beginning of a secret that is alive now."""
    moment = now.timestamp()
    return moment, moment + CLOCK_SKEW


def _json(data: Mapping[str, Any]) -> str:
    return msgspec.json.encode(data).decode()


def _secret(row: tuple[Any, ...] | None) -> OneTimeSecret | None:
    if row is None:
        return None
    return OneTimeSecret(
        key=row[0],
        purpose=row[1],
        subject=row[2],
        data=msgspec.json.decode(row[3]),
        attempts=row[4],
        created_at=datetime.fromtimestamp(row[5], UTC),
        expires_at=datetime.fromtimestamp(row[6], UTC),
    )
