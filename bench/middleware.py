"""The whole middleware (token, rate, quota, inspection, permission, event) over HTTP, in one run with its peers.

One uvicorn process each, on loopback, small JSON posts over connections that are kept; the load comes from this
process. Requests a second depend on what else the machine does, so the processor time a request is shown too.
Run: ``python -m bench.middleware [requests a round]``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

import uvloop

from bench._middleware_apps import KINDS

CONNECTIONS, ROUNDS, FIRST = 128, 5, 32
REQUESTS, ROUND_SECONDS = 2_500, 5.0
START_SECONDS = 120.0
TO_BARE, TO_STACK, CEILING_MS = 0.6, 3.0, 5.0
PEERS = ("uvicorn", "fastapi", "pyjwt", "pycasbin", "slowapi", "fastapi-guard")
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """One of the servers to compare, as a process of its own."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self._directory = directory / kind.replace(" ", "-")
        self._directory.mkdir()
        self._sent = 0
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            self.port = int(listener.getsockname()[1])
            command = [sys.executable, "-m", "bench._middleware_apps", kind, str(listener.fileno())]
            self._process = subprocess.Popen([*command, str(self._directory)], pass_fds=[listener.fileno()])

    async def ready(self) -> None:
        """Wait for the first answer."""
        deadline = time.monotonic() + START_SECONDS
        while not await self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The server `{self.kind}` did not start; what it wrote is above.")
            await asyncio.sleep(0.2)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(5):
                await load(self.port, self.requests(1), 1)
        except (OSError, TimeoutError, FileNotFoundError):
            return False
        return True

    def requests(self, count: int) -> list[bytes]:
        """Posts of manufacturers in turn, no two alike."""
        path = self._directory / "tokens.json"
        tokens = [""] if self.kind == "bare" else json.loads(path.read_text())
        first, self._sent = self._sent, self._sent + count
        return [_post(tokens[number % len(tokens)], number) for number in range(first, first + count)]

    def processor_seconds(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _post(token: str, number: int) -> bytes:
    body = json.dumps(
        {
            "name": f"Oak table No. {number}, extendable",
            "description": "Solid oak, oiled by hand; seats six to ten. Delivered flat, with tools.",
            "sku": f"TBL-{number:06d}",
            "price_cents": 64_900 + number % 1000,
        }
    )
    head = (
        "POST /products HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    return (head + body).encode()


class Connection(asyncio.Protocol):
    """Sends one request after the other, each when the last was answered."""

    def __init__(self, requests: Iterator[bytes], took: list[float]) -> None:
        self._requests, self._took = requests, took
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are registered as no kind of asyncio's
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return
        self._took.append(time.perf_counter() - self._began)
        if not self._buffer.startswith(b"HTTP/1.1 201"):
            self._end(RuntimeError(f"not served: {self._buffer[:500]!r}"))
            return
        self._buffer = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionResetError("closed by the server"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None or self._transport is None:
            self._end(None)
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None) if error is None else self.done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


async def load(port: int, requests: Sequence[bytes], connections: int) -> tuple[float, list[float]]:
    """Send them all; seconds it took, and seconds of each."""
    loop, waiting, took = asyncio.get_running_loop(), iter(requests), list[float]()
    begin = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(waiting, took), "127.0.0.1", port)
        for _ in range(min(connections, len(requests)))
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    return time.perf_counter() - begin, took


def sync_ms(directory: Path) -> float:
    """What the disk takes to make one small write durable: a lone caller of Gatewright waits for it."""
    took = []
    with (directory / "probe").open("wb", buffering=0) as file:
        for _ in range(100):
            begin = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1000


async def measure(servers: Sequence[Server], most: int) -> dict[str, dict[str, float]]:
    """Rounds in turn, so that all see the same machine; medians."""
    found: dict[str, dict[str, list[float]]] = {server.kind: defaultdict(list) for server in servers}
    counts = {server.kind: await _warm_up(server, most) for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            count, row = counts[server.kind], found[server.kind]
            ready, spent = server.requests(count), server.processor_seconds()
            seconds, _ = await load(server.port, ready, CONNECTIONS)
            row["rps"].append(count / seconds)
            row["cpu_us"].append((server.processor_seconds() - spent) / count * 1e6)
            _, took = await load(server.port, server.requests(max(8, count // 10)), 1)
            row["one_ms"].append(statistics.median(took) * 1000)
    return {kind: {name: statistics.median(values) for name, values in row.items()} for kind, row in found.items()}


async def _warm_up(server: Server, most: int) -> int:
    """How many requests make a round: at most ``most``, and what the server does in some seconds."""
    seconds, _ = await load(server.port, server.requests(FIRST), FIRST)
    count = max(FIRST, min(most, int(FIRST / seconds * ROUND_SECONDS)))
    await load(server.port, server.requests(count // 2), CONNECTIONS)
    return count


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} is not installed"


def report(found: dict[str, dict[str, float]], disk_ms: float) -> bool:
    """Print the table; whether the targets were met."""
    print(", ".join(map(_version, PEERS)))
    print(f"{'':<26}{'requests/s':>11}{'of bare':>9}{'CPU us/request':>16}{'alone, ms':>11}")
    bare, ours = found["bare"], found["gatewright"]
    for kind, row in found.items():
        share = row["rps"] / bare["rps"]
        print(f"{kind:<26}{row['rps']:>11,.0f}{share:>9.2f}{row['cpu_us']:>16.0f}{row['one_ms']:>11.2f}")
    overhead_us, added_ms = ours["cpu_us"] - bare["cpu_us"], ours["one_ms"] - bare["one_ms"]
    print(
        f"added by gatewright: {overhead_us:.0f} us of processor; to a lone caller {added_ms:.2f} ms "
        f"(<= {CEILING_MS:g} ms), in which a durable write of the quota: the disk takes {disk_ms:.2f} ms for one"
    )
    results = [
        ("of the bare application's requests/s", TO_BARE, ours["rps"] / bare["rps"]),
        ("times the requests/s of the stack", TO_STACK, ours["rps"] / found["stack"]["rps"]),
    ]
    without = ours["rps"] / found["stack without inspection"]["rps"]
    print(f"{without:.2f} times the requests/s of the stack without inspection, which does less")
    for text, target, ratio in results:
        print(f"{ratio:.2f} {text} (target >= {target:g}) {'met' if ratio >= target else 'MISSED'}")
    return added_ms <= CEILING_MS and all(ratio >= target for _, target, ratio in results)


async def main(requests: int) -> int:
    with tempfile.TemporaryDirectory(dir=".") as directory:  # on the disk, not in memory
        servers = [Server(kind, Path(directory)) for kind in KINDS]
        try:
            for server in servers:
                await server.ready()
            found = await measure(servers, requests)
            disk_ms = sync_ms(Path(directory))
        finally:
            for server in servers:
                server.stop()
    return 0 if report(found, disk_ms) else 1


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(int(sys.argv[1]) if sys.argv[1:] else REQUESTS)))
