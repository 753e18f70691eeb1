"""``gatewright model``: the detector's model, its versions, and training a new base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.opening import opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from gatewright.threats import ModelVersion

app = typer.Typer(help="Versions of the detector's model, and training.", no_args_is_help=True)


@app.command()
def versions(json: Json = False) -> None:
    """What was learned from feedback, accepted or refused, and which version decides."""
    found = run(_versions())
    if json:
        print_json(found)
    elif not found:
        print_line("Nothing was learned yet: the base model decides.")
    else:
        rows = [(v.version, v.accepted, v.reason, _metrics(v.metrics)) for v in found]
        print_table("Model versions", ("version", "accepted", "reason", "metrics"), rows)


async def _versions() -> list[ModelVersion]:
    async with opened() as foundation:
        return list(await foundation.validator.list_model_versions())


def _metrics(metrics: Any) -> str:
    if not isinstance(metrics, dict):
        return str(metrics or "")
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="The version to go back to; 0 is the base model.", min=0)],
    json: Json = False,
) -> None:
    """Let an earlier version decide, in every process within a second."""
    result = run(_rollback(version))
    if json:
        print_json(result)
    else:
        print_line(f"Version {version} decides now.")


async def _rollback(version: int) -> Any:
    async with opened() as foundation:
        return await foundation.validator.rollback_model(version)
