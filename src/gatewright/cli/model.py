"""``gatewright model``: the detector's model, its versions, and training a new base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table, progress
from gatewright.cli.posture import operator

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
        rows = [(v.version, v.active, v.accepted, v.created_at, v.reason, _metrics(v.metrics)) for v in found]
        columns = ("version", "decides", "accepted", "made", "reason", "metrics")
        print_table("Model versions", columns, rows)


async def _versions() -> list[ModelVersion]:
    async with opened() as foundation:
        return list(await foundation.validator.list_model_versions())


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="The version to go back to; 0 is the base model.", min=0)],
    json: Json = False,
) -> None:
    """Let an earlier version decide, in every process within a second."""
    active = run(_rollback(version))
    if json:
        print_json(active)
    else:
        print_line(f"Version {active.version} decides now.")


async def _rollback(version: int) -> ModelVersion:
    async with opened() as foundation:
        return await foundation.validator.rollback_model(version, actor=operator())


@app.command()
def train(
    corpus: Annotated[
        list[Path], typer.Option("--corpus", help="Labelled rows: a file, or a directory with the corpus.", exists=True)
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write the model (safetensors).")],
    seed: Annotated[int, typer.Option(help="The same rows, rules and seed give the same file.", min=0)] = 7,
    rules_dir: Annotated[Path | None, typer.Option(help="Rules of your own; those that ship when left away.")] = None,
    json: Json = False,
) -> None:
    """Train a base model. Name the result in GATEWRIGHT_MODEL_FILE. Needs the extra `train`."""
    import hashlib

    from gatewright.threats.model.corpus import read_corpus
    from gatewright.threats.model.training import train as fit
    from gatewright.threats.rules import load_rules

    rows = [row for place in corpus for row in read_corpus(place)]
    with progress("reading rows", len(rows)) as done:
        model = fit(rows, load_rules(rules_dir), seed=seed, progress=lambda read, _: done(read))
    out.write_bytes(model)
    told = {"file": str(out), "rows": len(rows), "bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    if json:
        print_json(told)
    else:
        print_line(f"{told['file']}: {told['rows']:,} rows, {told['bytes']:,} bytes, SHA-256 {told['sha256']}")
