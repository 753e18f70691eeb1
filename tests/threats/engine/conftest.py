"""One engine for all tests of it: loading takes a while, and it keeps no state that matters."""

from __future__ import annotations

import pytest

from gatewright.threats import DetectionEngine


@pytest.fixture(scope="session")
def engine() -> DetectionEngine:
    """The engine that ships."""
    return DetectionEngine.load()
