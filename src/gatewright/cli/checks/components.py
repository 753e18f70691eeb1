"""Checks of components: store, cache, keys in use, detector, audit log, mail server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gatewright.cli.checks import Check, finding, note, ok
from gatewright.cli.checks.machine import check_clock, check_keys_left
from gatewright.errors import SecurityError

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation
    from gatewright.settings import Settings

TIMEOUT = 3.0
"""Timeout of connections, in seconds."""


async def check_parts(foundation: SecurityFoundation) -> AsyncIterator[Check]:
    """Checks that require an initialized foundation."""
    yield await _store(foundation)
    yield await _clock(foundation)
    async for check in _encryption(foundation):
        yield check
    left = await check_keys_left(foundation)
    if left is not None:
        yield left
    yield _detector(foundation)
    yield await _audit(foundation)


async def _store(foundation: SecurityFoundation) -> Check:
    try:
        await foundation.store.check()
    except SecurityError as error:
        return finding("store", error.message, error.recommended_action)
    where = "on disk" if foundation.store.durable else "in memory only"
    return ok("store", f"available; state is stored {where}")


async def _clock(foundation: SecurityFoundation) -> Check:
    head = await foundation.store.audit_head()
    newest = await foundation.store.read_audit(head.size - 1, 1) if head.size else []
    return check_clock(datetime.fromtimestamp(newest[0].at, UTC) if newest else None)


async def _encryption(foundation: SecurityFoundation) -> AsyncIterator[Check]:
    report = await foundation.encryption.validate_encryption_compliance()
    for found in report.findings:
        subject = f"encryption: {found.check}"
        if found.status == "failed":
            yield finding(subject, found.detail, found.remedy or "")
        elif found.status == "info":
            yield note(subject, found.detail, found.remedy or "")
        else:
            yield ok(subject, found.detail)


def _detector(foundation: SecurityFoundation) -> Check:
    if foundation.validator.degraded:
        return finding(
            "detector",
            "the model is missing or corrupted; only rules are used",
            "See `gatewright model versions`; roll back, or set GATEWRIGHT_MODEL_FILE to a valid file.",
        )
    return ok("detector", "rules and model are loaded")


async def _audit(foundation: SecurityFoundation) -> Check:
    head = await foundation.store.audit_head()
    if head.stored != head.size:
        return finding(
            "audit",
            f"the log has {head.stored:,} of {head.size:,} entries",
            "Preserve the disk, and run `gatewright audit verify` with a checkpoint kept elsewhere.",
        )
    return ok("audit", f"{head.size:,} entries; run `gatewright audit verify` to verify all of them")


async def check_mail(settings: Settings) -> Check | None:
    """Check the mail server. None if messages are not sent by SMTP."""
    if settings.notifier != "smtp":
        return None
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(settings.smtp_host, settings.smtp_port)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        return finding(
            "mail", f"{where} is unreachable ({reason})", "Correct GATEWRIGHT_SMTP_HOST and GATEWRIGHT_SMTP_PORT."
        )
    return ok("mail", f"{where} is reachable")


async def check_cache(settings: Settings) -> Check | None:
    """Check Redis. None if the cache is in-process."""
    if settings.redis_url is None:
        return None
    try:
        import redis.asyncio as redis
    except ImportError:
        return finding("cache", "the Redis client is not installed", "Run `pip install redis hiredis`.")
    client: Any = redis.from_url(settings.redis_url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    try:
        await client.ping()
    except (redis.RedisError, OSError) as error:
        return finding("cache", f"Redis is unreachable ({type(error).__name__})", "Correct GATEWRIGHT_REDIS_URL.")
    finally:
        await client.aclose()
    return ok("cache", "Redis is reachable")
