"""One demo server for the examples, in a data directory of the name that the README uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import DemoServer


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """Running for all examples of this directory."""
    server = DemoServer(
        tmp_path_factory.mktemp("readme") / "gatewright-data",
        environment={"GATEWRIGHT_TRUSTED_PROXIES": "127.0.0.1"},
    ).start()
    yield server
    server.stop()
