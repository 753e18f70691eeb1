"""``gatewright keys reencrypt`` and ``emergency-rotate``: re-encryption of records under the newest data keys."""

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
        help="Also process records of your application: a RecordSource, a list of them, or a function "
        "of the foundation that returns either. May be repeated.",
    ),
]
Batch = Annotated[int, typer.Option("--batch-size", min=1, max=10_000, help="Records per batch.")]

_COLUMNS = ("source", "scanned", "reencrypted", "already_current", "contended", "shredded", "failed", "finished")


def reencrypt(
    rate: Annotated[float | None, typer.Option(min=0.1, help="Limit of records per second. [default: none]")] = None,
    batch_size: Batch = 200,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Re-encrypt all records under the newest data keys while the service is running.

    Can be interrupted at any time (Ctrl-C) and resumes on the next run. Exit code 1 if records cannot be decrypted;
    they are listed and left unchanged.
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
    reason: Annotated[str, typer.Option(help="What happened, for the audit log.")],
    key_id: Annotated[
        str | None,
        typer.Argument(help="Id of the compromised key, from `keys list`. [default: all current keys]"),
    ] = None,
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Also delete the data keys, once no record uses them.")
    ] = False,
    settle: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait for all processes to learn of the new keys.")
    ] = 1.0,
    batch_size: Batch = 200,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Replace a compromised key, re-encrypt everything under it at full speed, and revoke it.

    Safe to repeat. Without KEY_ID, token signing keys are replaced as well, and old ones revoked. Exit code 1 while
    records remain under the old key, which is then not revoked so that they stay readable.
    """
    done = run(_emergency(key_id, reason, destroy=destroy, settle=settle, batch_size=batch_size, names=source or []))
    if json:
        print_json(done)
    else:
        _print_result(done)
    raise typer.Exit(0 if done.get("encryption", {}).get("complete", True) else FOUND)


def _print_result(done: dict[str, Any]) -> None:
    if "signing" in done:
        print_line(
            f"signing     {len(done['signing']['ended'])} keys revoked; {done['signing']['signs']} now signs tokens"
        )
    if "encryption" not in done:
        return
    report = done["encryption"]
    print_table("Re-encrypted", _COLUMNS, [[r[name] for name in _COLUMNS] for r in report["reencryptions"]])
    state = "destroyed" if report["destroyed"] else "revoked" if report["revoked"] else "NOT revoked"
    print_line(f"encryption  generation {report['key_id']} is {state}")
    if not report["complete"]:
        _print_failures(report["reencryptions"])
        print_line(f"Fix or remove these records, then run again: gatewright keys emergency-rotate {report['key_id']}")


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
    """Rotate the signing key if ``kid`` is the current one, and revoke all older keys."""
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
    """The error for an unknown key id."""
    return KeyUnavailableError(f"Unknown key {key_id!r}. List keys with `gatewright keys list`.", code="UNKNOWN_KEY")


# --- sources ----------------------------------------------------------------------------------------------------


def record_sources(foundation: SecurityFoundation, names: Sequence[str]) -> list[RecordSource]:
    """The record sources of the foundation, and those named as ``module:name``.

    Raises:
        ConfigurationError: a name does not refer to a record source.
    """
    return [*foundation.record_sources, *(source for name in names for source in _named(foundation, name))]


def _named(foundation: SecurityFoundation, name: str) -> list[RecordSource]:
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"--source {name}: must be MODULE:NAME, such as myapp.records:sources.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # like `python -m`: the application is in the current directory
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--source {name}: cannot be imported ({error}).") from None
    if callable(found) and not hasattr(found, "page"):
        found = found(foundation)
    several = list(found) if isinstance(found, list | tuple) else [found]
    if not several or not all(hasattr(one, "page") and hasattr(one, "replace") for one in several):
        raise ConfigurationError(
            f"--source {name}: is neither a RecordSource (name, page, replace) nor a list of them."
        )
    return several


# --- output --------------------------------------------------------------------------------------------


def _complete(reports: Sequence[ReencryptionReport]) -> bool:
    return all(report.finished and not report.failed for report in reports)


def _show(reports: Sequence[ReencryptionReport]) -> None:
    print_table("Re-encrypted", _COLUMNS, [[report[name] for name in _COLUMNS] for report in reports])
    _print_failures([report.to_dict() for report in reports])


def _print_failures(reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        if report["failed"]:
            ids = ", ".join(report["failed_ids"]) + (", …" if report["failed"] > len(report["failed_ids"]) else "")
            print_line(f"{report['source']}: {report['failed']:,} could not be decrypted: {ids}")
