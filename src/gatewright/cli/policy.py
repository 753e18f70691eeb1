"""``gatewright policy``: validation and explanation of the policy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table
from gatewright.errors import ValidationError

if TYPE_CHECKING:
    from gatewright.policy import Policy

app = typer.Typer(help="Validate and explain the policy.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="Policy file. [default: the policy in force]")] = None,
    json: Json = False,
) -> None:
    """Validate a policy and show its permissions and limits. Exit code 2 if it is invalid."""
    policy = _load(file)
    tiers = policy.tiers_by_rank()
    if json:
        print_json({"valid": True, "policy": policy})
        return
    print_table(
        "Permissions",
        ("permission", *tiers, "description"),
        [
            (name, *("yes" if name in policy.permissions_of_tier(tier) else "-" for tier in tiers), text)
            for name, text in policy.permissions.items()
        ],
    )
    resources = sorted({resource for tier in tiers for resource in policy.limits_of_tier(tier)})
    print_table(
        "Limits",
        ("resource", *tiers),
        [(resource, *(_limit(policy, tier, resource) for tier in tiers)) for resource in resources],
    )
    print_line("The policy is valid.")


def _load(file: Path | None = None) -> Policy:
    from gatewright.policy import load_policy

    return load_policy(file or os.environ.get("GATEWRIGHT_POLICY_FILE") or None)


def _limit(policy: Policy, tier: str, resource: str) -> str:
    found = policy.limits_of_tier(tier).get(resource)
    if found is None:
        return "-"
    if found.limit < 0:
        return "unlimited"
    return f"{found.limit:,} per {found.window}" if found.hours is None else f"{found.limit:,} in {found.hours:g} h"


@app.command()
def explain(
    who: Annotated[str, typer.Argument(help="Tier, or id of a manufacturer.")],
    what: Annotated[str, typer.Argument(help="Permission or resource.")],
    role: Annotated[str | None, typer.Option(help="Role of the member.")] = None,
    json: Json = False,
) -> None:
    """Explain in a sentence why something is allowed or denied. Exit code 1 if denied."""
    policy = _load()
    explained = explain_tier(policy, who, what, role) if who in policy.tiers else run(_explain_manufacturer(who, what))
    if json:
        print_json(explained)
    else:
        print_line(explained["explanation"])
    raise typer.Exit(0 if explained["allowed"] else FOUND)


def explain_tier(policy: Policy, tier: str, what: str, role: str | None = None) -> dict[str, Any]:
    """Explain a permission or resource for a tier (and role), without usage and grants.

    Raises:
        ValidationError: unknown permission, resource or role.
    """
    if role is not None and role not in policy.roles:
        raise ValidationError(f"Unknown role {role!r}. Use one of {', '.join(policy.roles)}.", code="UNKNOWN_ROLE")
    limits = policy.limits_of_tier(tier)
    if what in policy.permissions:
        allowed, text = _explain_permission(policy, tier, what, role)
    elif what in limits:
        allowed = limits[what].limit != 0
        text = f"A manufacturer on {tier} has {_limit(policy, tier, what)} of {what}."
    else:
        known = ", ".join([*policy.permissions, *limits])
        raise ValidationError(
            f"{what!r} is neither a permission nor a resource. Use one of {known}.", code="UNKNOWN_PERMISSION"
        )
    return {"who": tier, "what": what, "role": role, "allowed": allowed, "explanation": text}


def _explain_permission(policy: Policy, tier: str, permission: str, role: str | None) -> tuple[bool, str]:
    if permission not in policy.permissions_of_tier(tier):
        needed = policy.required_tier(permission)
        remedy = f"the lowest tier with it is {needed}" if needed else "no tier includes it"
        return False, f"A manufacturer on {tier} may not {permission}: the tier does not include it; {remedy}."
    giver = next(name for name in policy.lineage(tier) if permission in policy.tiers[name].permissions)
    by = f"the tier {giver} includes it" + ("" if giver == tier else f", and {tier} inherits from it")
    if role is not None:
        cut = policy.roles[role].permissions
        if "*" not in cut and permission not in cut:
            return False, f"A {role} may not {permission}: {by}, but the role does not include it."
        return True, f"A {role} of a manufacturer on {tier} may {permission}: {by}, and the role includes it."
    return True, f"A manufacturer on {tier} may {permission}: {by}."


async def _explain_manufacturer(manufacturer_id: str, what: str) -> dict[str, Any]:
    """Explain with the grants, usage and status of a manufacturer."""
    async with opened() as foundation:
        stored = await foundation.store.get_manufacturer(manufacturer_id)
        if stored is None:
            raise ValidationError(
                f"{manufacturer_id!r} is neither a tier nor a manufacturer. List manufacturers with "
                "`gatewright manufacturer list`.",
                code="UNKNOWN_MANUFACTURER",
            )
        explained = explain_tier(foundation.policy, stored.tier, what) | {"who": manufacturer_id}
        more = f"{manufacturer_id} is on {stored.tier}."
        if stored.status != "active":
            explained |= {"allowed": False, "reason": stored.status}
            more = f"{manufacturer_id} is {stored.status}, so every request is refused."
        elif what in foundation.policy.permissions:
            found = await foundation.rbac.check_permission_detailed(manufacturer_id, what)
            explained |= {"allowed": found.granted, "reason": found.reason}
            if found.reason in ("granted_temporarily", "restricted"):
                more = "A temporary grant allows it." if found.granted else "It is restricted for this manufacturer."
        else:
            usage = await foundation.rbac.check_usage_limit(manufacturer_id, what)
            explained |= {
                "allowed": usage.allowed,
                "reason": usage.reason,
                "current": usage.current,
                "limit": usage.limit,
            }
            more = f"{manufacturer_id} has used {usage.current:,}; the quota resets at {usage.resets_at:%F %H:%M} UTC."
        return {**explained, "explanation": f"{explained['explanation']} {more}"}
