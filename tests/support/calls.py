"""Counting the calls inside Gatewright that one piece of work makes, on every thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import gatewright

SOURCE = str(Path(gatewright.__file__).parent)


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    """The functions of Gatewright that are entered meanwhile, in order: ``module.function``.

    A coroutine counts once, however often it is resumed. Threads that run already are not seen; what they do for a
    request is counted where it is handed to them.
    """
    calls: list[str] = []
    entered: set[int] = set()
    frames: list[FrameType] = []  # keeps ids from being reused

    def on_event(frame: FrameType, kind: str, _: object) -> None:
        if kind != "call" or not frame.f_code.co_filename.startswith(SOURCE) or id(frame) in entered:
            return
        entered.add(id(frame))
        frames.append(frame)
        module = frame.f_globals["__name__"].removeprefix("gatewright.")
        calls.append(f"{module}.{frame.f_code.co_qualname}")

    threading.setprofile(on_event)
    sys.setprofile(on_event)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        frames.clear()
