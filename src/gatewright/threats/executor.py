"""Execution of inspections: small values inline, large ones in a thread, large batches in processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from gatewright.threats.engine import DetectionEngine
    from gatewright.threats.results import Inspection

INLINE_CHARACTERS = 16_384
"""Up to this size an inspection takes about a millisecond and less than handing it to a thread is worth."""

PROCESS_CHARACTERS = 4_000_000
"""From this size on a batch takes longer than starting processes."""

MAX_THREADS = 4
_CHUNKS_PER_WORKER = 8

_TEXTS = (str, bytes, bytearray)
_LINEAR = (*_TEXTS, memoryview)
_MAPPINGS = (dict, Mapping)
_LISTS = (list, tuple, set, frozenset)

Result = TypeVar("Result")
Recipe = tuple[Mapping[str, Any], bytes | None]
"""How another process makes the same detector: arguments of ``DetectionEngine.load``, and the correction."""


class InspectionExecutor:
    """Bounded pools, started when they are first needed.

    Args:
        processes: how many for large batches; 0 keeps everything in this process.
    """

    def __init__(self, *, processes: int | None = None) -> None:
        self._processes = min(8, os.cpu_count() or 1) if processes is None else processes
        self.threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="gatewright-inspect")
        self._pool: ProcessPoolExecutor | None = None
        self._pool_recipe: Recipe | None = None

    async def run(self, work: Callable[[], Result], *, size: int) -> Result:
        """Run ``work``, at once or in a thread, by the size of what it looks at in characters."""
        return work() if size <= INLINE_CHARACTERS else await self.in_thread(work)

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` in a thread: it takes more than a millisecond, or reads files."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def inspect_many(
        self, items: Sequence[Any], level: int, inspect: Callable[[Any], Inspection], recipe: Recipe | None
    ) -> list[Inspection]:
        """Inspect a batch, in the order given.

        Args:
            items: the values.
            level: the detection level.
            inspect: does it in this process.
            recipe: makes the detector in another process; None where that cannot be done.
        """
        total = sum(size_of(item, PROCESS_CHARACTERS) for item in items)
        if recipe is None or self._processes < 2 or total < PROCESS_CHARACTERS:
            return await self.run(lambda: [inspect(item) for item in items], size=total)
        loop = asyncio.get_running_loop()
        pool = self._pool_for(recipe)
        count = max(1, len(items) // (self._processes * _CHUNKS_PER_WORKER) + 1)
        chunks = [items[start : start + count] for start in range(0, len(items), count)]
        try:
            parts = await asyncio.gather(*(loop.run_in_executor(pool, _inspect_chunk, part, level) for part in chunks))
        except BrokenProcessPool:
            self.end_processes()
        except (PicklingError, TypeError, AttributeError):
            pass  # a value that cannot be handed to another process
        else:
            return [inspection for part in parts for inspection in part]
        return await self.in_thread(lambda: [inspect(item) for item in items])

    def end_processes(self, *, cancel: bool = False) -> None:
        """End the processes; the next batch starts new ones, with the detector of that time.

        Args:
            cancel: what other batches have in them is not finished.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=cancel)
        self._pool = self._pool_recipe = None

    def close(self) -> None:
        """End threads and processes."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.end_processes(cancel=True)

    def _pool_for(self, recipe: Recipe) -> ProcessPoolExecutor:
        if self._pool is None or self._pool_recipe != recipe:
            self.end_processes()
            # Not fork: threads hold locks here, and a forked child would inherit them locked.
            context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=context, initializer=_prepare_worker, initargs=recipe
            )
            self._pool_recipe = recipe
        return self._pool


def size_of(value: Any, enough: int = INLINE_CHARACTERS + 1) -> int:
    """Characters in a JSON-like value, counted up to about ``enough``; each member adds 16."""
    if isinstance(value, _LINEAR):
        return len(value)
    total = 0
    waiting: list[Any] = [value]
    while waiting and total < enough:
        item = waiting.pop()
        total += 16
        if isinstance(item, _TEXTS):
            total += len(item)
        elif isinstance(item, _MAPPINGS):
            for key in item:
                if isinstance(key, str):
                    total += len(key)
            waiting.extend(item.values())
        elif isinstance(item, _LISTS):
            waiting.extend(item)
    return total


_worker: DetectionEngine | None = None


def _prepare_worker(arguments: Mapping[str, Any], correction: bytes | None) -> None:
    from gatewright.threats.engine import DetectionEngine
    from gatewright.threats.learning.fit import decode_correction

    global _worker
    engine = DetectionEngine.load(**arguments)
    _worker = engine if correction is None else engine.with_correction(decode_correction(correction))


def _inspect_chunk(items: Iterable[Any], level: int) -> list[Inspection]:
    if _worker is None:
        raise BrokenProcessPool("The process has no detector.")
    return [_worker.inspect(item, level=level) for item in items]
