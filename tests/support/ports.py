"""Ports for the servers of a test run."""

from __future__ import annotations

import itertools
import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_WIDTH = 500
"""Ports that each process of the run has to itself."""


def _own() -> Iterator[int]:
    """Ports below those that the kernel gives to outgoing connections, in a slice of this worker's own.

    A port that the kernel chose may be someone's outgoing connection by the time a server is ready to listen, and
    once more when a killed server comes back to it.
    """
    lowest = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
    slices = max(1, (lowest - 10_000) // _WIDTH)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    first = 10_000 + (zlib.crc32(run.encode()) + worker) % slices * _WIDTH
    return itertools.cycle(range(first, min(first + _WIDTH, lowest)))


_ports = _own()


def free_port() -> int:
    """A port of the loopback address that no one listens on now, and that no one else is given."""
    for port in itertools.islice(_ports, _WIDTH):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
