"""``gatewright keys reencrypt`` and ``emergency-rotate``: every record under the newest data keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewright import event_kinds
from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table, progress
from gatewright.cli.posture import operator
from gatewright.errors import ConfigurationError, KeyUnavailableError

if TYPE_CHECKING:
    from gatewright.encryption import RecordSource, ReencryptionReport
    from gatewright.foundation import SecurityFoundation

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="MODULE:NAME",
        help="Records of your application as well: a RecordSource, a list of them, or a function that is given the "
        "foundation and returns either. May be repeated.",
    ),
]
Batch = Annotated[int, typer.Option("--batch-size", min=1, max=10_000, help="Records in a page.")]

_COLUMNS = ("source", "scanned", "reencrypted", "already_current", "contended", "shredded", "failed", "finished")


def reencrypt(
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="The most records that are read in a second; no limit without it.")
    ] = None,
    batch_size: Batch = 200,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Bring every record under the newest data keys, while the service goes on.

    May be stopped at any moment (Ctrl-C too) and run again: it goes on where it was. Exit code 1 where records do
    not open; they are named and left as they are.
    """
    reports = run(_reencrypt(rate, batch_size, source or []))
    if json:
        print_json({"complete": _complete(reports), "sources": reports})
    else:
        _show(reports)
    raise typer.Exit(0 if _complete(reports) else FOUND)


async def _reencrypt(rate: float | None, batch_size: int, names: Sequence[str]) -> list[ReencryptionReport]:
    async with opened() as foundation:
        sources = record_sources(foundation, names)
        with progress("re-encrypting", None) as done:
            return await foundation.encryption.reencrypt_all(
                sources, batch_size=batch_size, records_per_second=rate, progress=lambda report: done(report.scanned)
            )


def emergency_rotate(
    reason: Annotated[str, typer.Option(help="What happened; it stands in the audit log.")],
    key_id: Annotated[
        str | None,
        typer.Argument(help="The compromised key, as `keys list` shows it; without it, all keys in use are replaced."),
    ] = None,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Delete the data keys too, once nothing is left under them.")
    ] = False,
    settle: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait until every process has heard of the new keys.")
    ] = 1.0,
    batch_size: Batch = 200,
    source: Sources = None,
    json: Json = False,
) -> None:
    """A key is compromised: replace it, re-encrypt what is under it at full speed, revoke it. One command, and it may
    be repeated. Without KEY_ID the keys that sign tokens are replaced as well, and the old ones end.

    Exit code 1 while records are left under the old key; it is not revoked then, so that they stay readable.
    """
    done = run(_emergency(key_id, reason, destroy=destroy, settle=settle, batch_size=batch_size, names=source or []))
    if json:
        print_json(done)
    else:
        _tell(done)
    raise typer.Exit(0 if done.get("encryption", {}).get("complete", True) else FOUND)


def _tell(done: dict[str, Any]) -> None:
    if "signing" in done:
        print_line(f"signing     {len(done['signing']['ended'])} keys verify no more; {done['signing']['signs']} signs")
    if "encryption" not in done:
        return
    report = done["encryption"]
    print_table("Re-encrypted", _COLUMNS, [[r[name] for name in _COLUMNS] for r in report["reencryptions"]])
    state = "destroyed" if report["destroyed"] else "revoked" if report["revoked"] else "NOT revoked"
    print_line(f"encryption  the generation {report['key_id']} is {state}")
    if not report["complete"]:
        _tell_of_failures(report["reencryptions"])
        print_line(f"Mend or remove these, then run it again: gatewright keys emergency-rotate {report['key_id']}")


async def _emergency(
    key_id: str | None, reason: str, *, destroy: bool, settle: float, batch_size: int, names: Sequence[str]
) -> dict[str, Any]:
    done: dict[str, Any] = {}
    async with opened() as foundation:
        sources = record_sources(foundation, names)
        signing = {key.kid: key.retired_at is None for key in await foundation.store.list_signing_keys()}
        known = [key.key_id for key in await foundation.encryption.list_keys()]
        if key_id is not None and key_id not in signing and key_id not in known:
            raise unknown_key(key_id)
        if key_id is None or key_id in signing:
            kid = key_id or next(kid for kid, current in signing.items() if current)
            done["signing"] = await end_signing_keys(foundation, kid, reason, current=signing[kid])
        if key_id is None or key_id in known:
            with progress("re-encrypting", None) as advance:
                report = await foundation.encryption.emergency_rotation(
                    sources,
                    reason=f"{reason} ({operator()})",
                    key_id=key_id,
                    batch_size=batch_size,
                    settle=settle,
                    destroy=destroy,
                    progress=lambda state: advance(state.scanned),
                )
            done["encryption"] = report.to_dict()
    return done


async def end_signing_keys(foundation: SecurityFoundation, kid: str, reason: str, *, current: bool) -> dict[str, Any]:
    """Let a new key sign (where ``kid`` is the one that does) and every old one verify nothing any more."""
    from gatewright.events import Severity, event

    signs = await foundation.auth.rotate_signing_key() if current else foundation.auth.keys.current.kid
    ended = await foundation.store.delete_signing_keys(now=datetime.max.replace(tzinfo=UTC))
    foundation.sink.emit(
        event(
            event_kinds.AUTH_SIGNING_KEY_REVOKED,
            severity=Severity.HIGH,
            actor=operator(),
            kid=kid,
            ended=ended,
            reason=reason,
        )
    )
    return {"kind": "signing", "key_id": kid, "ended": ended, "signs": signs}


def unknown_key(key_id: str) -> KeyUnavailableError:
    """The error for an id that is in no list of keys."""
    return KeyUnavailableError(f"No key has the id {key_id!r}; see `gatewright keys list`.", code="UNKNOWN_KEY")


# --- sources ----------------------------------------------------------------------------------------------------


def record_sources(foundation: SecurityFoundation, names: Sequence[str]) -> list[RecordSource]:
    """All records: those of the foundation, and those that ``names`` (``module:name``) say.

    Raises:
        ConfigurationError: a name leads to nothing that has records.
    """
    return [*foundation.record_sources, *(source for name in names for source in _named(foundation, name))]


def _named(foundation: SecurityFoundation, name: str) -> list[RecordSource]:
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"--source {name}: must be MODULE:NAME, as myapp.records:sources.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the application is where the command runs
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--source {name}: cannot be loaded ({error}).") from None
    if callable(found) and not hasattr(found, "page"):
        found = found(foundation)
    several = list(found) if isinstance(found, list | tuple) else [found]
    if not several or not all(hasattr(one, "page") and hasattr(one, "replace") for one in several):
        raise ConfigurationError(f"--source {name}: is no RecordSource (name, page, replace), nor a list of them.")
    return several


# --- what is shown ----------------------------------------------------------------------------------------------


def _complete(reports: Sequence[ReencryptionReport]) -> bool:
    return all(report.finished and not report.failed for report in reports)


def _show(reports: Sequence[ReencryptionReport]) -> None:
    print_table("Re-encrypted", _COLUMNS, [[report[name] for name in _COLUMNS] for report in reports])
    _tell_of_failures([report.to_dict() for report in reports])


def _tell_of_failures(reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        if report["failed"]:
            more = ", …" if report["failed"] > len(report["failed_ids"]) else ""
            print_line(f"{report['source']}: {report['failed']:,} do not open: {', '.join(report['failed_ids'])}{more}")
