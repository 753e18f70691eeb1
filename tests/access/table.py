"""What each call must ask for, and what each kind of caller may do: written manually, apart from the code it judges.

``python -m tests.docs.reference`` prints :func:`matrix` into ``docs/reference/access.md``; ``test_matrix`` holds the
service to it.
"""

from __future__ import annotations

from typing import NamedTuple

OPEN = ""
"""No one is asked who they are."""

ANYBODY = "signed in"
"""Whoever has good credentials."""


class Call(NamedTuple):
    """A call: what it needs, whether API keys may make it, whether a recent second factor is asked for."""

    route: str
    needs: str
    keys: bool = False
    step_up: bool = False


CALLS = [
    Call("GET /healthz", OPEN),
    Call("GET /readyz", OPEN),
    Call("GET /metrics", OPEN),
    Call("GET /.well-known/jwks.json", OPEN),
    Call("GET /openapi.json", OPEN),
    Call("POST /v1/manufacturers", OPEN),
    Call("POST /v1/manufacturers/verify", OPEN),
    Call("POST /v1/auth/login", OPEN),
    Call("POST /v1/auth/mfa", OPEN),
    Call("POST /v1/auth/refresh", OPEN),
    Call("POST /v1/auth/password/forgot", OPEN),
    Call("POST /v1/auth/password/reset", OPEN),
    Call("POST /v1/passkeys/login/begin", OPEN),
    Call("POST /v1/passkeys/login/finish", OPEN),
    Call("POST /v1/members/join", OPEN),
    Call("GET /v1/me", ANYBODY, keys=True),
    Call("POST /v1/inspect", ANYBODY, keys=True),
    *(
        Call(f"{method} /v1/forward-auth{below}", ANYBODY, keys=True)
        for below in ("", "/{target:path}")
        for method in ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
    ),
    Call("POST /v1/auth/logout", ANYBODY),
    Call("GET /v1/usage", "usage:read", keys=True),
    Call("GET /v1/usage/analytics", "usage:read", keys=True),
    Call("GET /v1/security/events", "security:read", keys=True),
    Call("GET /demo/products", ANYBODY, keys=True),
    Call("POST /demo/products", "upload_products", keys=True),
    # --- oneself ---
    Call("GET /v1/sessions", "sessions:own"),
    Call("DELETE /v1/sessions/{session_id}", "sessions:own"),
    Call("DELETE /v1/sessions", "sessions:own"),
    Call("POST /v1/auth/password/change", "factors:own"),
    Call("POST /v1/mfa/totp", "factors:own"),
    Call("POST /v1/mfa/totp/confirm", "factors:own"),
    Call("POST /v1/mfa/confirmations", "factors:own"),
    Call("POST /v1/mfa/confirmations/redeem", "factors:own"),
    Call("POST /v1/mfa/step-up", "factors:own"),
    Call("DELETE /v1/mfa/totp", "factors:own", step_up=True),
    Call("POST /v1/mfa/backup-codes", "factors:own", step_up=True),
    Call("GET /v1/passkeys", "factors:own"),
    Call("POST /v1/passkeys/register/begin", "factors:own"),
    Call("POST /v1/passkeys/register/finish", "factors:own"),
    Call("DELETE /v1/passkeys/{passkey_id}", "factors:own", step_up=True),
    Call("GET /v1/devices", "factors:own"),
    Call("DELETE /v1/devices/{device_id}", "factors:own", step_up=True),
    # --- the company ---
    Call("GET /v1/profile", "profile:read"),
    Call("PUT /v1/profile", "profile:write", step_up=True),
    Call("GET /v1/api-keys", "keys:read"),
    Call("POST /v1/api-keys", "keys:manage", step_up=True),
    Call("POST /v1/api-keys/{key_id}/rotate", "keys:manage", step_up=True),
    Call("DELETE /v1/api-keys/{key_id}", "keys:manage", step_up=True),
    Call("GET /v1/members", "members:read"),
    Call("GET /v1/members/invitations", "members:read"),
    Call("POST /v1/members/invitations", "members:manage", step_up=True),
    Call("DELETE /v1/members/invitations/{invitation_id}", "members:manage", step_up=True),
    Call("PUT /v1/members/{account_id}", "members:manage", step_up=True),
    Call("GET /v1/members/{account_id}/sessions", "sessions:manage"),
    Call("DELETE /v1/members/{account_id}/sessions", "sessions:manage", step_up=True),
    # --- the platform's staff ---
    Call("GET /v1/admin/manufacturers", "platform:tenants:read", step_up=True),
    Call("GET /v1/admin/manufacturers/{manufacturer_id}", "platform:tenants:read", step_up=True),
    Call("PUT /v1/admin/manufacturers/{manufacturer_id}/tier", "platform:tiers:write", step_up=True),
    Call("POST /v1/admin/manufacturers/{manufacturer_id}/disable", "platform:tenants:write", step_up=True),
    Call("POST /v1/admin/manufacturers/{manufacturer_id}/enable", "platform:tenants:write", step_up=True),
    Call(
        "POST /v1/admin/manufacturers/{manufacturer_id}/accounts/{account_id}/mfa/reset",
        "platform:factors:reset",
        step_up=True,
    ),
    Call("POST /v1/admin/manufacturers/{manufacturer_id}/grants", "platform:grants:write", step_up=True),
    Call("POST /v1/admin/suggestions/{suggestion_id}/apply", "platform:grants:write", step_up=True),
    Call("POST /v1/admin/suggestions/{suggestion_id}/roll-back", "platform:grants:write", step_up=True),
    Call("GET /v1/admin/events", "platform:audit:read", step_up=True),
    Call("GET /v1/admin/audit/verify", "platform:audit:read", step_up=True),
    Call("POST /v1/admin/audit/checkpoint", "platform:audit:sign", step_up=True),
    Call("GET /v1/admin/audit/prove/{event_id}", "platform:audit:read", step_up=True),
    Call("GET /v1/admin/incidents", "platform:incidents:read", step_up=True),
    Call("POST /v1/admin/incidents/{incident_id}/resolve", "platform:incidents:write", step_up=True),
    Call("GET /v1/admin/performance", "platform:posture:read", step_up=True),
    Call("GET /v1/admin/posture", "platform:posture:read", step_up=True),
    Call("GET /v1/admin/posture/proposals", "platform:posture:read", step_up=True),
    Call("POST /v1/admin/posture/{proposal_id}/apply", "platform:posture:apply", step_up=True),
    Call("POST /v1/admin/posture/{measure_id}/roll-back", "platform:posture:apply", step_up=True),
    Call("GET /v1/admin/policy", "platform:policy:read", step_up=True),
    Call("POST /v1/admin/feedback", "platform:model:write", step_up=True),
    Call("GET /v1/admin/model/statistics", "platform:model:read", step_up=True),
    Call("GET /v1/admin/model/versions", "platform:model:read", step_up=True),
    Call("POST /v1/admin/model/retrain", "platform:model:write", step_up=True),
    Call("POST /v1/admin/model/versions/{version}/use", "platform:model:write", step_up=True),
    Call("POST /v1/admin/keys/rotate", "platform:keys:rotate", step_up=True),
]

TENANT = frozenset(
    {
        "sessions:own",
        "factors:own",
        "sessions:manage",
        "members:read",
        "members:manage",
        "keys:read",
        "keys:manage",
        "profile:read",
        "profile:write",
        "usage:read",
        "security:read",
        "upload_products",
    }
)
PLATFORM = frozenset(call.needs for call in CALLS if call.needs.startswith("platform:"))
OWN = frozenset({"sessions:own", "factors:own"})
AUDITOR = OWN | {
    "members:read",
    "platform:tenants:read",
    "platform:audit:read",
    "platform:incidents:read",
    "platform:posture:read",
    "platform:policy:read",
    "platform:model:read",
}


class Caller(NamedTuple):
    """A kind of caller: what it has, and why it may be refused whatever it asks for.

    ``out`` is the code of the refusal of credentials that are worth nothing; ``kind`` is ``session`` or ``key``;
    ``fresh`` whether a second factor was shown recently.
    """

    name: str
    has: frozenset[str] = frozenset()
    kind: str = "session"
    fresh: bool = True
    out: str | None = None


CALLERS = [
    Caller("anonymous", out="TOKEN_MISSING"),
    Caller("owner", TENANT),
    Caller("owner, stale second factor", TENANT, fresh=False),
    Caller("owner, no second factor", TENANT, fresh=False),
    Caller("admin", TENANT - {"profile:write"}),
    Caller("member", OWN | {"members:read", "profile:read", "usage:read", "upload_products"}),
    Caller("viewer", OWN | {"usage:read"}),
    Caller("catalogue_editor", OWN | {"usage:read", "upload_products"}),
    Caller("analyst", OWN | {"usage:read"}),
    Caller("developer", OWN | {"usage:read", "upload_products", "keys:read", "keys:manage"}),
    Caller("custom role", OWN | {"members:read"}),
    Caller("token of the company", frozenset({"upload_products", "usage:read"}), fresh=False),
    Caller("key", frozenset({"upload_products", "usage:read"}), kind="key"),
    Caller("key without the permission", frozenset({"security:read", "usage:read"}), kind="key"),
    Caller("key of a demoted developer", out="INSUFFICIENT_PERMISSIONS", kind="key"),
    Caller("disabled member", out="MANUFACTURER_DISABLED"),
    Caller("disabled member's key", out="INVALID_API_KEY", kind="key"),
    Caller("owner of a disabled tenant", out="MANUFACTURER_DISABLED"),
    Caller("owner of another tenant", TENANT),
    Caller("platform_admin", TENANT | PLATFORM),
    Caller("platform_admin, stale second factor", TENANT | PLATFORM, fresh=False),
    Caller("platform_auditor", AUDITOR),
    Caller("platform_support", OWN | {"members:read", "platform:tenants:read", "platform:incidents:read"}
           | {"platform:factors:reset"}),
    Caller("demoted platform_admin", AUDITOR),
]  # fmt: skip

REACHED = "reached"


def expected(call: Call, caller: Caller) -> tuple[int, str] | str:
    """Status and code of the refusal, or :data:`REACHED`."""
    if call.needs == OPEN:
        return REACHED
    if caller.out is not None:
        return (403 if caller.out == "INSUFFICIENT_PERMISSIONS" else 401), caller.out
    if caller.kind == "key" and not call.keys:
        return 403, "CREDENTIAL_NOT_ALLOWED"
    if call.needs != ANYBODY and call.needs not in caller.has:
        return 403, "INSUFFICIENT_PERMISSIONS"
    if call.step_up and not caller.fresh:
        return 401, "MFA_REQUIRED"
    return REACHED


def matrix() -> str:
    """The table as Markdown: calls down, kinds of callers across, those that are treated alike in one column."""
    refused = ", ".join(c.name for c in CALLERS if c.out is not None)
    asked = [call for call in CALLS if call.needs != OPEN]
    asked = [call for call in asked if "forward-auth" not in call.route or call.route == "GET /v1/forward-auth"]
    columns: dict[tuple[str, ...], list[str]] = {}
    for caller in CALLERS:
        if caller.out is None:
            columns.setdefault(tuple(_cell(expected(call, caller)) for call in asked), []).append(caller.name)
    rows = [_row(["call", "needs", *("; ".join(names) for names in columns.values())])]
    rows.append(_row(["---", "---", *[":-:"] * len(columns)]))
    for number, call in enumerate(asked):
        route = call.route.replace("GET /v1/forward-auth", "* /v1/forward-auth")
        needs = ANYBODY if call.needs == ANYBODY else f"`{call.needs}`"
        cells = [column[number] for column in columns]
        rows.append(_row([f"`{route}`", needs + (", step-up" if call.step_up else ""), *cells]))
    legend = (
        "`✓` the call is made. `–` 403, the permission is missing. `people` 403, API keys cannot make this call. "
        "`step-up` 401, show a second factor first. `*` any method, here and on any path below."
    )
    everybody = ", ".join(f"`{call.route}`" for call in CALLS if call.needs == OPEN)
    return (
        "\n".join([*rows, "", legend])
        + f"\n\nRefused with 401 or 403 wherever credentials are asked for: {refused}."
        + f"\n\nOpen without credentials: {everybody}."
    )


def _cell(outcome: tuple[int, str] | str) -> str:
    words = {"CREDENTIAL_NOT_ALLOWED": "people", "INSUFFICIENT_PERMISSIONS": "–", "MFA_REQUIRED": "step-up"}
    return "✓" if isinstance(outcome, str) else words[outcome[1]]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
