"""``gatewright usage``: what a manufacturer has used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gatewright.cli.manufacturer import print_usage
from gatewright.cli.opening import opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from gatewright.rbac import UsagePeriod

CYCLES = 24
"""Cycles of a chart at the most."""
BAR_WIDTH = 50


class _ShowByDefault(TyperGroup):
    """``usage ID`` is short for ``usage show ID``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(help="What manufacturers use.", no_args_is_help=True, cls=_ShowByDefault)


@app.command()
def show(
    manufacturer_id: Annotated[str, typer.Argument(help="The id of the manufacturer.")],
    chart: Annotated[bool, typer.Option("--chart", help="Draw the usage of past cycles.")] = False,
    json: Json = False,
) -> None:
    """The quotas of a manufacturer and what it used in past cycles."""
    found = run(_gather(manufacturer_id))
    if json:
        print_json(found)
        return
    print_usage(found["usage"])
    if chart:
        _draw(found["history"])


async def _gather(manufacturer_id: str) -> dict[str, Any]:
    async with opened() as foundation:
        return {
            "manufacturer_id": manufacturer_id,
            "usage": await foundation.rbac.get_usage_overview(manufacturer_id),
            "history": await foundation.rbac.get_usage_history(manufacturer_id),
        }


def _draw(history: list[UsagePeriod]) -> None:
    """A bar for each cycle, by resource, each resource on its own scale."""
    for resource in dict.fromkeys(period.resource for period in history):
        periods = [period for period in history if period.resource == resource][-CYCLES:]
        rows = [
            (f"{period.period_start:%Y-%m-%d}", period.used, bar(period.used, max(p.used for p in periods)))
            for period in periods
        ]
        print_table(resource, ("cycle from", "used", ""), rows)
    if not history:
        print_line("No cycle has ended yet.")


def bar(value: int, highest: int, width: int = BAR_WIDTH) -> str:
    """A bar of eighths of a character, so long as ``value`` is of ``highest``."""
    eighths = round(width * 8 * value / highest) if highest > 0 else 0
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
