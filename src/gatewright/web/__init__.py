"""The web: ASGI middleware, FastAPI dependencies and the HTTP service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.inspection_policy import Exclusion
    from gatewright.web.access import EXTENSION, declarations, document
    from gatewright.web.authenticate import Authenticator
    from gatewright.web.body import decode_body, parse_body, read_body, replay
    from gatewright.web.body.content_coding import MAX_MEMBERS, MAX_RATIO, RATIO_FREE, decompress
    from gatewright.web.body.forms import MAX_FIELDS, collect
    from gatewright.web.body.media_type import media_type
    from gatewright.web.body.timeout import receive_within
    from gatewright.web.demo import DemoFoundation, create_admin, read_credentials, seed_demo
    from gatewright.web.dependencies import open_to_all, requires
    from gatewright.web.enforcement import Enforcement, take_out
    from gatewright.web.headers import MAX_REMEMBERED, MEMORY, HeaderReader
    from gatewright.web.idempotency import CLAIM_LIFETIME, RETENTION
    from gatewright.web.inspection import MANY, without
    from gatewright.web.middleware import GatewrightMiddleware
    from gatewright.web.network_limit import AT_ONCE
    from gatewright.web.problems import Problem, render
    from gatewright.web.request import RequestState
    from gatewright.web.rules import PathRules, RouterRules, RouteRule
    from gatewright.web.service import create_app, install
    from gatewright.web.trusted_proxies import ClientReader, TrustedProxies

_NAMES = {
    "gatewright.web.body.media_type": ("media_type",),
    "gatewright.web.request": ("RequestState",),
    "gatewright.web.authenticate": ("Authenticator",),
    "gatewright.inspection_policy": ("Exclusion",),
    "gatewright.web.access": (
        "EXTENSION",
        "declarations",
        "document",
    ),
    "gatewright.web.body": (
        "decode_body",
        "parse_body",
        "read_body",
        "replay",
    ),
    "gatewright.web.body.content_coding": (
        "MAX_MEMBERS",
        "MAX_RATIO",
        "RATIO_FREE",
        "decompress",
    ),
    "gatewright.web.body.forms": (
        "MAX_FIELDS",
        "collect",
    ),
    "gatewright.web.body.timeout": ("receive_within",),
    "gatewright.web.demo": (
        "DemoFoundation",
        "create_admin",
        "read_credentials",
        "seed_demo",
    ),
    "gatewright.web.dependencies": (
        "open_to_all",
        "requires",
    ),
    "gatewright.web.enforcement": (
        "Enforcement",
        "take_out",
    ),
    "gatewright.web.headers": (
        "HeaderReader",
        "MAX_REMEMBERED",
        "MEMORY",
    ),
    "gatewright.web.idempotency": (
        "RETENTION",
        "CLAIM_LIFETIME",
    ),
    "gatewright.web.inspection": (
        "MANY",
        "without",
    ),
    "gatewright.web.middleware": ("GatewrightMiddleware",),
    "gatewright.web.network_limit": ("AT_ONCE",),
    "gatewright.web.problems": (
        "Problem",
        "render",
    ),
    "gatewright.web.rules": (
        "PathRules",
        "RouteRule",
        "RouterRules",
    ),
    "gatewright.web.service": (
        "create_app",
        "install",
    ),
    "gatewright.web.trusted_proxies": (
        "ClientReader",
        "TrustedProxies",
    ),
}

__all__ = [
    "AT_ONCE",
    "CLAIM_LIFETIME",
    "EXTENSION",
    "MANY",
    "MAX_FIELDS",
    "MAX_MEMBERS",
    "MAX_RATIO",
    "MAX_REMEMBERED",
    "MEMORY",
    "RATIO_FREE",
    "RETENTION",
    "Authenticator",
    "ClientReader",
    "DemoFoundation",
    "Enforcement",
    "Exclusion",
    "GatewrightMiddleware",
    "HeaderReader",
    "PathRules",
    "Problem",
    "RequestState",
    "RouteRule",
    "RouterRules",
    "TrustedProxies",
    "collect",
    "create_admin",
    "create_app",
    "declarations",
    "decode_body",
    "decompress",
    "document",
    "install",
    "media_type",
    "open_to_all",
    "parse_body",
    "read_body",
    "read_credentials",
    "receive_within",
    "render",
    "replay",
    "requires",
    "seed_demo",
    "take_out",
    "without",
]

__getattr__ = lazy_names(__name__, _NAMES)
