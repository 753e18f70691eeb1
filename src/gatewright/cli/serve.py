"""``gatewright serve``, and the ASGI factories that its workers import."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli import demo as demonstration
from gatewright.cli.bootstrap import load_settings, require_keys
from gatewright.cli.output import Json, print_json, say
from gatewright.errors import ConfigurationError

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from gatewright.foundation import SecurityFoundation
    from gatewright.settings import Settings


def service() -> FastAPI:
    """The service, configured by the environment."""
    return _build(demo=False)


def demo() -> FastAPI:
    """The service with ``/demo/products``."""
    return _build(demo=True)


def _build(*, demo: bool) -> FastAPI:
    from gatewright import logs
    from gatewright.foundation import SecurityFoundation
    from gatewright.web.demo import DemoFoundation
    from gatewright.web.service import create_app

    settings = load_settings()
    require_keys(settings)
    logs.configure(level=settings.log_level, format=settings.log_format)
    return create_app(DemoFoundation(settings) if demo else SecurityFoundation(settings), demo=demo)


GRACE_SECONDS = 10
"""Seconds that running requests get to finish after a stop signal."""
START_SECONDS = 60
"""Seconds that a worker may take to start before it is replaced."""
BACKLOG = 2_048
"""Connections that may queue while all workers are busy."""


def serve(
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Create keys, a demo manufacturer and a platform admin in a separate store. Not for production.",
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Number of worker processes.", min=1, max=256)] = 1,
    json: Json = False,
) -> None:
    """Run the HTTP service until stopped (Ctrl-C or SIGTERM)."""
    listener = _listen(host, port)
    try:
        _serve(listener, _url(host, listener.getsockname()[1]), workers, demo=demo, json=json)
    finally:
        listener.close()


def _serve(listener: socket.socket, url: str, workers: int, *, demo: bool, json: bool) -> None:
    if demo:
        demonstration.prepare_environment(url)
    settings = load_settings()
    require_keys(settings)
    if workers > 1 and settings.database_path == ":memory:":
        raise ConfigurationError(
            "GATEWRIGHT_DATABASE=:memory:: workers cannot share an in-memory store; use a file, or a single worker."
        )
    if workers == 1:
        _one_process(settings, listener, url, demo=demo, json=json)
    else:
        _many_processes(settings, listener, url, workers, demo=demo, json=json)


def _listen(host: str, port: int) -> socket.socket:
    """Bind the address first, so that one in use is a one-line error."""
    import socket

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"--host {host} --port {port}: cannot listen here ({reason}); choose another address or port.",
            code="ADDRESS_UNAVAILABLE",
        ) from None
    listener.listen(BACKLOG)  # connections made before the start wait instead of being refused
    listener.set_inheritable(True)
    return listener


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _server_options(settings: Settings) -> dict[str, Any]:
    """Options of uvicorn: Gatewright's logs, proxy handling and connection limits instead of its own."""
    from functools import partial

    from gatewright.web.connections import BoundedHttpProtocol, connection_limits

    return {
        "http": partial(BoundedHttpProtocol, limits=connection_limits(settings)),
        "timeout_keep_alive": settings.keep_alive_seconds,
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "backlog": BACKLOG,
    }


def _foundation(settings: Settings, *, demo: bool) -> SecurityFoundation:
    if demo:
        from gatewright.web.demo import DemoFoundation

        return DemoFoundation(settings)
    from gatewright.foundation import SecurityFoundation

    return SecurityFoundation(settings)


def _one_process(settings: Settings, listener: socket.socket, url: str, *, demo: bool, json: bool) -> None:
    import asyncio

    import uvicorn

    from gatewright import logs
    from gatewright.web.service import create_app

    foundation = _foundation(settings, demo=demo)
    logs.configure(level=settings.log_level, format=settings.log_format)

    async def main() -> bool:
        server = uvicorn.Server(uvicorn.Config(create_app(foundation, demo=demo), **_server_options(settings)))
        await foundation.initialize()
        try:
            await _announce(foundation if demo else None, url, json=json)
            await server.serve(sockets=[listener])
        finally:
            await foundation.close()
        return server.started

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        started = runner.run(main())
    if not started:
        raise ConfigurationError("The service did not start. See the log above for the reason.", code="START_FAILED")


def _many_processes(
    settings: Settings, listener: socket.socket, url: str, workers: int, *, demo: bool, json: bool
) -> None:
    """Create the schema and the demo accounts once, then let each worker build its own application."""
    import asyncio

    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from gatewright import logs

    foundation = _foundation(settings, demo=demo)
    logs.configure(level=settings.log_level, format=settings.log_format)

    async def main() -> None:
        async with foundation:
            await _announce(foundation if demo else None, url, json=json)

    asyncio.run(main())
    factory = "gatewright.cli.serve:" + ("demo" if demo else "service")
    options = {**_server_options(settings), "timeout_worker_healthcheck": START_SECONDS}
    config = uvicorn.Config(factory, factory=True, workers=workers, **options)
    Multiprocess(config, sockets=[listener]).run()


async def _announce(foundation: Any, url: str, *, json: bool) -> None:
    """Print the URL. With a foundation, create the demo accounts and print them too."""
    if foundation is None:
        if json:
            print_json({"url": url, "pid": os.getpid()})
        else:
            say(f"Gatewright is running at {url} (Ctrl-C to stop)")
    else:
        found = await demonstration.people(foundation)
        directory = foundation.settings.data_dir
        if json:
            print_json({**demonstration.describe(url, directory, found), "pid": os.getpid()})
        else:
            sys.stdout.write(demonstration.welcome(url, directory, found))
    sys.stdout.flush()


def _loop_factory() -> Any:
    """uvloop if installed, as uvicorn chooses."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
