"""``gatewright usage``: usage, forecasts and suggestions for a manufacturer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.manufacturer import print_usage
from gatewright.cli.output import Json, print_json, print_line, print_table
from gatewright.cli.posture import operator

if TYPE_CHECKING:
    from gatewright.rbac.insights.analytics import UsageAnalytics

DAYS = 35
"""Days in a chart."""
BAR_WIDTH = 50


class _ShowByDefault(TyperGroup):
    """``usage ID`` is short for ``usage show ID``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(help="Usage, forecasts and suggestions.", no_args_is_help=True, cls=_ShowByDefault)

SuggestionId = Annotated[str, typer.Argument(help="Id of the suggestion, from `usage show`.")]


# --- show -------------------------------------------------------------------------------------------------------


@app.command()
def show(
    manufacturer_id: Annotated[str, typer.Argument(help="Id of the manufacturer.")],
    chart: Annotated[bool, typer.Option("--chart", help="Draw the daily use of each resource.")] = False,
    json: Json = False,
) -> None:
    """Show quotas, usage, forecasts and suggestions for a manufacturer."""
    found = run(_gather(manufacturer_id))
    if json:
        print_json(found)
        return
    print_usage(found["usage"])
    _show_forecasts(found["analytics"])
    _show_suggestions(found)
    if chart:
        _draw(found["analytics"])


async def _gather(manufacturer_id: str) -> dict[str, Any]:
    async with opened() as foundation:
        rbac = foundation.rbac
        return {
            "manufacturer_id": manufacturer_id,
            "usage": await rbac.get_usage_overview(manufacturer_id),
            "history": await rbac.get_usage_history(manufacturer_id),
            "analytics": await rbac.get_usage_analytics(manufacturer_id),
            "tier_suggestion": await rbac.suggest_tier(manufacturer_id),
            "permission_suggestions": await rbac.suggest_permissions(manufacturer_id),
        }


def _show_forecasts(analytics: UsageAnalytics) -> None:
    rows = [
        (f.resource, f"{f.expected:,.0f}", f"{f.low:,.0f} to {f.high:,.0f}", f.ends_on or "not this period")
        for f in analytics.forecasts.values()
    ]
    if rows:
        print_table(
            "Forecast for the end of the billing period",
            ("resource", "expected", "80 % interval", "exhausted on"),
            rows,
        )
    for day in analytics.anomalies:
        print_line(f"Unusual: {day.used:,} {day.resource} on {day.day:%Y-%m-%d}, usually about {day.usual:,.0f}")


def _show_suggestions(found: dict[str, Any]) -> None:
    tier = found["tier_suggestion"]
    rows = []
    if tier.suggested != tier.current:
        what = f"tier {tier.suggested} instead of {tier.current}"
        rows.append((tier.suggestion_id, what, " ".join(tier.reasons)))
    rows += [(s.suggestion_id, f"{s.action} {s.permission}", s.reason) for s in found["permission_suggestions"]]
    if rows:
        print_table("Suggestions", ("id", "suggestion", "reason"), rows)
        print_line("Apply one with `gatewright usage apply ID`, for as long as the policy allows.")


def _draw(analytics: UsageAnalytics) -> None:
    """Draw a bar per day. Each resource has its own scale."""
    from datetime import timedelta

    if not analytics.resources:
        print_line("No full day of usage yet.")
    for resource in analytics.resources.values():
        days = resource.daily[-DAYS:]
        first = analytics.generated_at - timedelta(days=len(days))
        rows = [(f"{first + timedelta(days=n):%a %d %b}", used, bar(used, max(days))) for n, used in enumerate(days)]
        print_table(f"{resource.resource} ({resource.direction})", ("day", "used", ""), rows)


def bar(value: float, highest: float, width: int = BAR_WIDTH) -> str:
    """A bar proportional to ``value``, in eighths of a character."""
    eighths = round(width * 8 * value / highest) if highest > 0 else 0
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


# --- apply ------------------------------------------------------------------------------------------------------


@app.command("apply")
def apply_suggestion(suggestion_id: SuggestionId, json: Json = False) -> None:
    """Apply a suggestion. It expires after the time that the policy allows."""
    _print_result(run(_change(suggestion_id, apply=True)), json=json)


@app.command("roll-back")
def roll_back(suggestion_id: SuggestionId, json: Json = False) -> None:
    """Roll back a suggestion to exactly the previous state."""
    _print_result(run(_change(suggestion_id, apply=False)), json=json)


async def _change(suggestion_id: str, *, apply: bool) -> Any:
    async with opened() as foundation:
        change = foundation.rbac.apply_suggestion if apply else foundation.rbac.roll_back_suggestion
        return await change(suggestion_id, author=operator())


def _print_result(adjustment: Any, *, json: bool) -> None:
    if json:
        print_json(adjustment)
    else:
        until = f", until {adjustment.until:%Y-%m-%d}" if adjustment.until and adjustment.status == "applied" else ""
        print_line(f"{adjustment.kind} {adjustment.subject}: {adjustment.status.replace('_', ' ')}{until}")
