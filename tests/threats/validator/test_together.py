"""Many tasks at once get the verdicts that one gets alone."""

from __future__ import annotations

import asyncio
from typing import Any

from gatewright.threats import DetectionEngine, Inspection, ManufacturerSecurityValidator, load_reference

TASKS = 50


async def test_fifty_tasks_judge_as_one() -> None:
    """Short values on the loop, long ones in threads, all of them at the same time."""
    values: list[Any] = [row.payload for row in load_reference()[::300]]
    values += ["oak shelf, 90 x 24 cm; " * 750 + attack for attack in ("", "' or 1=1 union select 1,2 -- ")]
    engine = DetectionEngine.load()
    alone = [engine.inspect(value) for value in values]
    assert {inspection.threat_detected for inspection in alone} == {True, False}

    async with ManufacturerSecurityValidator(processes=0) as validator:

        async def inspect_all() -> list[Inspection]:
            return [await validator.inspect(value) for value in values]

        for answers in await asyncio.gather(*(inspect_all() for _ in range(TASKS))):
            assert answers == alone
