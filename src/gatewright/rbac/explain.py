"""Explanations: why somebody may, or may not, do something, in a sentence."""

from __future__ import annotations

from typing import Any

from gatewright.errors import ValidationError
from gatewright.policy import UNLIMITED
from gatewright.rbac.names import plain
from gatewright.rbac.permissions import Permissions
from gatewright.rbac.quotas import Quotas
from gatewright.rbac.standing import Standings, id_of
from gatewright.records import Record


class Explanation(Record, frozen=True, kw_only=True):
    """``sentence`` says why ``manufacturer_id`` may or may not use ``subject``, a permission or a resource."""

    manufacturer_id: str
    subject: str
    allowed: bool
    reason: str
    sentence: str


async def explain(
    standings: Standings, permissions: Permissions, quotas: Quotas, manufacturer: Any, subject: Any
) -> Explanation:
    """Explain a permission or a resource.

    Raises:
        ValidationError: the policy knows neither.
    """
    compiled, name, who = standings.compiled, plain(subject), id_of(manufacturer)
    if name in compiled.resources:
        return await _quota(quotas, manufacturer, who, name)
    if name not in compiled.bits:
        known = ", ".join([*compiled.bits, *sorted(compiled.resources)])
        raise ValidationError(f"{name!r} is neither a permission nor a resource; there are {known}.")
    found = await permissions.check(manufacturer, name)
    needed = f"{found.required_tier} does" if found.required_tier else "no tier does"
    grants = [g for g in await permissions.grants(manufacturer) if g.permission == name]
    held = {effect: next((g for g in grants if g.effect == effect), None) for effect in ("grant", "restrict")}
    grant, restriction = held["grant"], held["restrict"]
    why = {
        "tier_permission_granted": f"the tier {found.tier} gives it",
        "role_permission_granted": "this person's role includes it",
        "granted_temporarily": f"it was granted{_until(grant)}",
        "insufficient_tier": f"the tier {found.tier} does not give it; {needed}",
        "role_not_permitted": "the tier would allow it, but this person's role does not include it",
        "restricted": f"it was restricted{_until(restriction)}" if restriction else "it is unknown here, or disabled",
    }[found.reason]
    return Explanation(
        manufacturer_id=who,
        subject=name,
        allowed=found.granted,
        reason=found.reason,
        sentence=f"{who} may{'' if found.granted else ' not'} {name}: {why}.",
    )


async def _quota(quotas: Quotas, manufacturer: Any, who: str, name: str) -> Explanation:
    found = await quotas.check(manufacturer, name)
    limit = "unlimited" if found.limit == UNLIMITED else f"{found.limit:,}"
    verb = "may use more" if found.allowed else "may use no more"
    return Explanation(
        manufacturer_id=who,
        subject=name,
        allowed=found.allowed,
        reason=found.reason or "within_limit",
        sentence=(
            f"{who} {verb} {name}: {found.current:,} of {limit} on {found.tier} are used, "
            f"and counting begins anew at {found.resets_at:%Y-%m-%d %H:%M} UTC."
        ),
    )


def _until(grant: Any) -> str:
    if grant is None:
        return ""
    end = f" until {grant.until:%Y-%m-%d %H:%M} UTC" if grant.until else ""
    return f"{end} ({grant.reason})"
