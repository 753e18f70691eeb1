"""The web: ASGI middleware, FastAPI dependencies, the HTTP service."""

from gatewright.inspection_policy import Exclusion
from gatewright.web.dependencies import open_to_all, requires
from gatewright.web.middleware import GatewrightMiddleware
from gatewright.web.rules import PathRules, RouteRule
from gatewright.web.service import create_app, install

__all__ = [
    "Exclusion",
    "GatewrightMiddleware",
    "PathRules",
    "RouteRule",
    "create_app",
    "install",
    "open_to_all",
    "requires",
]
