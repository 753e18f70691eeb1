"""``gatewright usage``: usage, forecasts and suggestions for a manufacturer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.manufacturer import print_usage
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table
from gatewright.cli.posture import operator

if TYPE_CHECKING:
    from gatewright.rbac.insights.analytics import UsageAnalytics

DAYS = 35
"""Days in a chart."""
BAR_WIDTH = 50
LEAST_COVERED, MOST_COVERED = 0.75, 0.90
"""How many outcomes an honest 80 % interval may cover."""
LEAST_PRECISE = 0.9
"""How many suggestions of another tier must come true."""


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
    """Apply a suggestion. It ends by itself, after the time that the policy allows."""
    _tell(run(_change(suggestion_id, apply=True)), json=json)


@app.command("roll-back")
def roll_back(suggestion_id: SuggestionId, json: Json = False) -> None:
    """Roll back a suggestion to exactly the previous state."""
    _tell(run(_change(suggestion_id, apply=False)), json=json)


async def _change(suggestion_id: str, *, apply: bool) -> Any:
    async with opened() as foundation:
        change = foundation.rbac.apply_suggestion if apply else foundation.rbac.roll_back_suggestion
        return await change(suggestion_id, author=operator())


def _tell(adjustment: Any, *, json: bool) -> None:
    if json:
        print_json(adjustment)
    else:
        until = f", until {adjustment.until:%Y-%m-%d}" if adjustment.until and adjustment.status == "applied" else ""
        print_line(f"{adjustment.kind} {adjustment.subject}: {adjustment.status.replace('_', ' ')}{until}")


# --- back-test --------------------------------------------------------------------------------------------------


@app.command()
def backtest(
    rounds: Annotated[int, typer.Option(help="Generated tenants of each shape.", min=1, max=100_000)] = 200,
    seed: Annotated[int, typer.Option(help="Another seed, other tenants.")] = 1,
    json: Json = False,
) -> None:
    """How honest forecasts and suggestions are, for generated tenants whose future is known.

    For five shapes, how often what came lay in the forecast's 80 % interval; for eight kinds, many of them hard to
    tell, how many suggestions of another tier came true. Exit code 1 when a shape is covered by less than 75 or more
    than 90 %, or when less than 90 % of the suggestions were right.
    """
    from gatewright.policy import load_policy
    from gatewright.rbac.insights.backtest import back_test
    from gatewright.rbac.insights.labelled import back_test_suggestions, overall

    shapes = back_test(rounds=rounds, seed=seed)
    kinds = back_test_suggestions(load_policy(), rounds=max(1, rounds // 4), seed=seed)
    together = overall(kinds)
    if json:
        print_json({"forecast": shapes, "suggestions": [*kinds, together], "precision": together.precision})
    else:
        rows = [(r.shape, r.rounds, f"{r.coverage:.1%}", f"{r.mean_error:.1%}") for r in shapes]
        print_table("Back-test of the forecast", ("shape", "tenants", "in the interval", "mean error"), rows)
        told = [
            (k.kind, k.tenants, k.suggested, _share(k.right, k.suggested), _share(k.found, k.needed)) for k in kinds
        ]
        told.append(
            ("all", together.tenants, together.suggested, f"{together.precision:.1%}", f"{together.recall:.1%}")
        )
        columns = ("kind", "tenants", "suggestions", "came true", "needs found")
        print_table("Back-test of suggested tiers", columns, told)
    honest = all(LEAST_COVERED <= r.coverage <= MOST_COVERED for r in shapes) and together.precision >= LEAST_PRECISE
    raise typer.Exit(0 if honest else FOUND)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
