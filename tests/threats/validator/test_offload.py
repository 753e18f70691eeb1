"""Offload and size_of: small things at once, large ones elsewhere."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gatewright.threats import INLINE_CHARACTERS, InspectionExecutor, size_of


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("abc", 3),
        (b"abcd", 4),
        (None, 16),
        ({"ab": "cde", 1: [True]}, 16 + 2 + 16 + 3 + 16 + 16),
        ([["x"] * 2], 16 + 16 + 2 * 17),
        ({"x"}, 16 + 17),
    ],
)
def test_size(value: Any, size: int) -> None:
    assert size_of(value) == size


def test_size_counts_no_further_than_needed() -> None:
    """A value that holds itself, or millions of members, costs no more than the bound."""
    endless: list[Any] = []
    endless.append(endless)
    assert size_of(endless, 1_000) <= 1_016
    assert size_of([["x" * 100] * 10] * 1_000_000, 1_000) >= 1_000


async def test_where_work_runs() -> None:
    offload = InspectionExecutor(processes=0)
    here = threading.current_thread().name
    assert await offload.run(lambda: threading.current_thread().name, size=10) == here
    elsewhere = await offload.run(lambda: threading.current_thread().name, size=INLINE_CHARACTERS + 1)
    assert elsewhere.startswith("gatewright-inspect")
    offload.close()
    offload.close()
