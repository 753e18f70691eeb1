"""``gatewright audit``: verification, export and proofs of the audit log."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import FOUND, Json, print_json, print_line, progress, say
from gatewright.errors import ValidationError

if TYPE_CHECKING:
    from gatewright.monitoring import AuditVerification, Checkpoint
    from gatewright.storage import Store

app = typer.Typer(help="Verify, export and prove the audit log.", no_args_is_help=True)

_PAGE = 2_000
_MOST_KEPT = 1 << 20
"""Bytes read at the end of a checkpoint file to find the latest one."""

KeptCheckpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Checkpoint kept elsewhere, as text or JSON.", exists=True, dir_okay=False),
]
Output = Annotated[Path | None, typer.Option("--out", help="Output file. [default: standard output]")]


@app.command()
def verify(checkpoint: KeptCheckpoint = None, json: Json = False) -> None:
    """Verify the whole log: no entry was changed, moved or removed.

    The root secret reveals changes made in the database alone. Only a checkpoint kept elsewhere reveals that everything
    was restored to an older state. Prints what the log was verified against. Exit code 1 on a finding.
    """
    found = run(_verify(checkpoint))
    if json:
        print_json(found)
    else:
        print_line(f"{_verdict(found)} {found.detail}")
        for line in found.held_against:
            print_line(f"  verified against {line}")
        print_line(
            f"{found.checked:,} of {found.size:,} entries and {found.checked_checkpoints} checkpoints "
            f"in {found.seconds:.2f} s"
        )
    raise typer.Exit(0 if found.valid else FOUND)


def _verdict(found: AuditVerification) -> str:
    if found.valid:
        return "The audit log is intact."
    if found.first_bad_index is None:
        return f"FINDING ({found.reason})."
    return f"The audit log is NOT INTACT from entry {found.first_bad_index} on ({found.reason})."


async def _verify(checkpoint: Path | None) -> AuditVerification:
    kept = _note(checkpoint)
    async with opened() as foundation:
        with progress("verifying", None) as done:
            return await foundation.monitor.audit.verify(kept, progress=lambda read, _: done(read))


@app.command()
def checkpoint(out: Output = None, json: Json = False) -> None:
    """Sign the current state of the log. Store the result on another machine."""
    signed, key = run(_checkpoint())
    if json:
        _write(out, {**signed.to_dict(), "verifier_key": key})
    elif out is not None:
        with _private(out) as file:
            file.write(signed.note.encode())
        say(f"{signed.size:,} entries signed. Checkpoint written to {out}; verifier key {key}")
    else:
        sys.stdout.write(signed.note)


async def _checkpoint() -> tuple[Checkpoint, str]:
    async with opened() as foundation:
        audit = foundation.monitor.audit
        return await audit.checkpoint(), audit.verifier_key


@app.command()
def prove(
    event_id: Annotated[str, typer.Argument(help="Id of the event.")],
    checkpoint: KeptCheckpoint = None,
    out: Output = None,
    json: Json = False,
) -> None:
    """Prove to a holder of the verifier key that an event is in the log. Prints JSON."""
    _write(out, run(_prove(event_id, checkpoint)))


async def _prove(event_id: str, checkpoint: Path | None) -> dict[str, Any]:
    kept = _note(checkpoint)
    async with opened() as foundation:
        audit = foundation.monitor.audit
        proof = await audit.prove(event_id, checkpoint=kept)
        return {**proof.to_dict(), "verifier_key": audit.verifier_key}


def _note(kept: Path | None) -> str | None:
    """The latest checkpoint note in a file. Only the end of a large file is read."""
    from gatewright.monitoring.checkpoints import note_in

    if kept is None:
        return None
    with kept.open("rb") as file:
        file.seek(max(0, kept.stat().st_size - _MOST_KEPT))
        text = file.read().decode("utf-8", "replace")
    return note_in(text if kept.stat().st_size <= _MOST_KEPT else text.partition("\n")[2])


@app.command()
def export(
    out: Output = None,
    since: Annotated[datetime | None, typer.Option(help="Start time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="End time, exclusive (UTC).")] = None,
    manufacturer_id: Annotated[
        str | None, typer.Option("--manufacturer", help="Only events of this manufacturer.")
    ] = None,
    json: Json = False,
) -> None:
    """Export events as JSON lines, oldest first.

    `entry` is the entry as stored in the log: the SHA-256 of 0x00 and the entry is `leaf_hash` (RFC 9162).
    """
    count = run(_export(out, _utc(since), _utc(until), manufacturer_id))
    if json and out is not None:
        print_json({"entries": count, "file": str(out)})
    else:
        say(f"{count:,} entries exported")


def _utc(moment: datetime | None) -> float | None:
    from datetime import UTC

    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


async def _export(out: Path | None, since: float | None, until: float | None, manufacturer_id: str | None) -> int:
    import msgspec

    from gatewright.monitoring.audit_encoding import event_of

    count = 0
    with ExitStack() as stack:
        target: IO[bytes] = sys.stdout.buffer if out is None else stack.enter_context(_private(out))
        async with opened() as foundation:
            await foundation.monitor.flush()
            store = foundation.store
            done = stack.enter_context(progress("exporting", (await store.audit_head()).size))
            async for entry in _entries(store):
                if entry.index % _PAGE == 0:
                    done(entry.index)
                outside = (since is not None and entry.at < since) or (until is not None and entry.at >= until)
                if outside or (manufacturer_id is not None and entry.manufacturer_id != manufacturer_id):
                    continue
                line = {**event_of(entry).to_dict(), "entry": entry.body.decode()}
                target.write(msgspec.json.encode(line) + b"\n")
                count += 1
        target.flush()
    return count


async def _entries(store: Store) -> AsyncIterator[Any]:
    start = 0
    while page := await store.read_audit(start, _PAGE):
        for entry in page:
            yield entry
        start = page[-1].index + 1


def _write(out: Path | None, value: Any) -> None:
    import msgspec

    if out is None:
        print_json(value)
        return
    if out.is_dir():
        raise ValidationError(f"{out}: is a directory. Choose a file.")
    with _private(out) as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    say(f"Written to {out}")


def _private(path: Path) -> IO[bytes]:
    """Open a file for writing, private if new, because events contain personal data."""
    import os

    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
