"""The applications that worker processes build for themselves: ``uvicorn --factory`` takes them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.cli.opening import load_settings, require_keys

if TYPE_CHECKING:
    from fastapi import FastAPI


def service() -> FastAPI:
    """The service over the settings of the environment."""
    return _build(demo=False)


def demo() -> FastAPI:
    """The same with ``/demo/products``."""
    return _build(demo=True)


def _build(*, demo: bool) -> FastAPI:
    from gatewright import logs
    from gatewright.foundation import SecurityFoundation
    from gatewright.web.demo.store import DemoFoundation
    from gatewright.web.service import create_app

    settings = load_settings()
    require_keys(settings)
    logs.configure(level=settings.log_level, format=settings.log_format)
    return create_app(DemoFoundation(settings) if demo else SecurityFoundation(settings), demo=demo)
