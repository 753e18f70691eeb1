"""``gatewright model``: versions of the detector's model, and training of a new base model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import Json, print_json, print_line, print_table, progress
from gatewright.cli.posture import operator
from gatewright.errors import ConfigurationError

if TYPE_CHECKING:
    from gatewright.threats import ModelVersion

app = typer.Typer(help="List and roll back model versions; train a base model.", no_args_is_help=True)


@app.command()
def versions(json: Json = False) -> None:
    """List model versions learned from feedback, accepted or refused, and the active one."""
    found = run(_versions())
    if json:
        print_json(found)
    elif not found:
        print_line("No learned versions yet. The base model is active.")
    else:
        rows = [(v.version, v.active, v.accepted, v.created_at, v.reason, _metrics(v.metrics)) for v in found]
        columns = ("version", "active", "accepted", "created", "reason", "metrics")
        print_table("Model versions", columns, rows)


async def _versions() -> list[ModelVersion]:
    async with opened() as foundation:
        return list(await foundation.validator.list_model_versions())


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="Version to roll back to; 0 is the base model.", min=0)],
    json: Json = False,
) -> None:
    """Roll back to an earlier version, in every process within a second."""
    active = run(_rollback(version))
    if json:
        print_json(active)
    else:
        print_line(f"Version {active.version} is now active.")


async def _rollback(version: int) -> ModelVersion:
    async with opened() as foundation:
        return await foundation.validator.rollback_model(version, actor=operator())


@app.command()
def train(
    corpus: Annotated[
        list[Path], typer.Option("--corpus", help="Labeled rows: a file, or a directory of files.", exists=True)
    ],
    out: Annotated[Path, typer.Option("--out", help="Output file (safetensors).")],
    seed: Annotated[
        int, typer.Option(help="Random seed. The same rows, rules and seed give the same file.", min=0)
    ] = 7,
    rules_dir: Annotated[Path | None, typer.Option(help="Rules directory. [default: bundled rules]")] = None,
    json: Json = False,
) -> None:
    """Train a base model. To use it, set GATEWRIGHT_MODEL_FILE to the output file."""
    import hashlib

    try:
        from gatewright_training.corpus import read_corpus
        from gatewright_training.training import train as fit
    except ModuleNotFoundError as error:
        if error.name != "gatewright_training":
            raise
        raise ConfigurationError(
            "gatewright model train: training is not part of the gatewright wheel, because it contains attack samples; "
            "install it from the repository with `pip install ./training`.",
            code="TRAINING_NOT_INSTALLED",
        ) from None
    from gatewright.threats.rules import load_rules

    rows = [row for place in corpus for row in read_corpus(place)]
    with progress("reading rows", len(rows)) as done:
        model = fit(rows, load_rules(rules_dir), seed=seed, progress=lambda read, _: done(read))
    out.write_bytes(model)
    result = {"file": str(out), "rows": len(rows), "bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    if json:
        print_json(result)
    else:
        print_line(f"{result['file']}: {result['rows']:,} rows, {result['bytes']:,} bytes, SHA-256 {result['sha256']}")
