"""Work that goes on when the caller goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, which ends even if this caller is cancelled meanwhile.

    For writes that end something: once the store has committed, this process must hear of it as well.
    """
    return await asyncio.shield(asyncio.ensure_future(work))
