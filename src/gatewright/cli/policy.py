"""``gatewright policy``: is a policy right, and what does it say about somebody?"""

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

app = typer.Typer(help="Check and explain the policy.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="A policy; the one in force when left away.")] = None,
    json: Json = False,
) -> None:
    """Check a policy and show what it comes to. What is wrong is told in one line; then the exit code is 2."""
    policy = _load(file)
    tiers = policy.tiers_by_rank()
    if json:
        print_json({"valid": True, "policy": policy})
        return
    print_table(
        "Permissions",
        ("permission", *tiers, "what it allows"),
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
    print_line("The policy is right.")


def _load(file: Path | None = None) -> Policy:
    from gatewright.policy import load_policy

    return load_policy(file or os.environ.get("GATEWRIGHT_POLICY_FILE") or None)


def _limit(policy: Policy, tier: str, resource: str) -> str:
    found = policy.limits_of_tier(tier).get(resource)
    if found is None:
        return "-"
    if found.limit < 0:
        return "unlimited"
    return f"{found.limit:,} a {found.window}" if found.hours is None else f"{found.limit:,} in {found.hours:g} h"


@app.command()
def explain(
    who: Annotated[str, typer.Argument(help="A tier, or the id of a manufacturer.")],
    what: Annotated[str, typer.Argument(help="A permission or a resource.")],
    role: Annotated[str | None, typer.Option(help="The role of the person in the manufacturer.")] = None,
    json: Json = False,
) -> None:
    """Say in a sentence why somebody may, or may not, do something. Exit code 1 when not."""
    policy = _load()
    told = explain_tier(policy, who, what, role) if who in policy.tiers else run(_explain_manufacturer(who, what))
    if json:
        print_json(told)
    else:
        print_line(told["explanation"])
    raise typer.Exit(0 if told["allowed"] else FOUND)


def explain_tier(policy: Policy, tier: str, what: str, role: str | None = None) -> dict[str, Any]:
    """What a policy says about a tier (and role) and a permission or resource, without usage and grants.

    Raises:
        ValidationError: the policy knows no such permission, resource or role.
    """
    if role is not None and role not in policy.roles:
        raise ValidationError(f"No role is called {role!r}; there are {', '.join(policy.roles)}.", code="UNKNOWN_ROLE")
    limits = policy.limits_of_tier(tier)
    if what in policy.permissions:
        allowed, text = _explain_permission(policy, tier, what, role)
    elif what in limits:
        allowed = limits[what].limit != 0
        text = f"A manufacturer on {tier} has {_limit(policy, tier, what)} of {what}."
    else:
        known = ", ".join([*policy.permissions, *limits])
        raise ValidationError(
            f"{what!r} is neither a permission nor a resource; there are {known}.", code="UNKNOWN_PERMISSION"
        )
    return {"who": tier, "what": what, "role": role, "allowed": allowed, "explanation": text}


def _explain_permission(policy: Policy, tier: str, permission: str, role: str | None) -> tuple[bool, str]:
    if permission not in policy.permissions_of_tier(tier):
        needed = policy.required_tier(permission)
        remedy = f"the lowest tier that has it is {needed}" if needed else "no tier has it"
        return False, f"A manufacturer on {tier} may not {permission}: the tier does not give it; {remedy}."
    giver = next(name for name in policy.lineage(tier) if permission in policy.tiers[name].permissions)
    by = f"the tier {giver} gives it" + ("" if giver == tier else f", from which {tier} inherits")
    if role is not None:
        cut = policy.roles[role].permissions
        if "*" not in cut and permission not in cut:
            return False, f"A {role} may not {permission}: {by}, but the role does not include it."
        return True, f"A {role} of a manufacturer on {tier} may {permission}: {by}, and the role includes it."
    return True, f"A manufacturer on {tier} may {permission}: {by}."


async def _explain_manufacturer(manufacturer_id: str, what: str) -> dict[str, Any]:
    """What policy, grants, usage and status come to for one manufacturer."""
    async with opened() as foundation:
        stored = await foundation.store.get_manufacturer(manufacturer_id)
        if stored is None:
            raise ValidationError(
                f"{manufacturer_id!r} is neither a tier nor a manufacturer; list them with "
                "`gatewright manufacturer list`.",
                code="UNKNOWN_MANUFACTURER",
            )
        told = explain_tier(foundation.policy, stored.tier, what) | {"who": manufacturer_id}
        more = f"{manufacturer_id} is on {stored.tier}."
        if stored.status != "active":
            told |= {"allowed": False, "reason": stored.status}
            more = f"{manufacturer_id} is {stored.status}, so every request is refused."
        elif what in foundation.policy.permissions:
            found = await foundation.rbac.check_permission_detailed(manufacturer_id, what)
            told |= {"allowed": found.granted, "reason": found.reason}
            if found.reason in ("granted_temporarily", "restricted"):
                more = "A temporary grant gives it." if found.granted else "It was restricted for this manufacturer."
        else:
            usage = await foundation.rbac.check_usage_limit(manufacturer_id, what)
            told |= {"allowed": usage.allowed, "reason": usage.reason, "current": usage.current, "limit": usage.limit}
            more = (
                f"{manufacturer_id} has used {usage.current:,}; the next cycle begins {usage.resets_at:%F %H:%M} UTC."
            )
        return {**told, "explanation": f"{told['explanation']} {more}"}
