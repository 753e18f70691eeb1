"""``gatewright doctor``: health check of an installation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from gatewright.cli.bootstrap import load_settings, run
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table
from gatewright.errors import ConfigurationError, SecurityError

if TYPE_CHECKING:
    from gatewright.cli.checks import Check
    from gatewright.settings import Settings


def doctor(json: Json = False) -> None:
    """Check settings, policy, keys, file permissions, stores, clock, detector and OpenSSL.

    Exit code 1 if there are findings. Each finding says how to fix it.
    """
    checks = examine()
    findings = [check for check in checks if check.status == "finding"]
    if json:
        print_json({"sound": not findings, "checks": checks})
    else:
        rows = [
            (c.status.upper() if c.status == "finding" else c.status, c.subject, c.detail, c.remedy) for c in checks
        ]
        print_table("Doctor", ("", "subject", "detail", "fix"), rows)
        counts = Counter(check.status for check in checks)
        print_line(f"{counts['ok']} ok, {counts['note']} notes, {counts['finding']} findings")
    raise typer.Exit(FOUND if findings else 0)


def examine() -> list[Check]:
    """Run every check, in order. A part that cannot be opened is a finding."""
    from gatewright.cli.checks import finding, machine, settings as settings_checks

    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [finding("settings", error.message, error.recommended_action), *machine.check_machine()]
    checks = [
        *settings_checks.check_settings(settings),
        *settings_checks.check_keys(settings),
        *settings_checks.check_policy(settings),
        *machine.check_files(settings),
        *machine.check_key_files(settings),
        *machine.check_machine(),
        *machine.check_memory_locked_down(),
    ]
    stops = {check.subject for check in checks if check.status == "finding"} & {"settings", "keys", "policy"}
    return checks + run(_examine_parts(settings, sound=not stops))


async def _examine_parts(settings: Settings, *, sound: bool) -> list[Check]:
    """Check the parts, which are opened only if no earlier finding would prevent the start."""
    from gatewright.cli.checks import components, finding, note

    reached = [await components.check_mail(settings), await components.check_cache(settings)]
    checks = [check for check in reached if check is not None]
    if not sound:
        return [*checks, note("parts", "store, encryption and detector were not checked", "Fix the findings first.")]
    from gatewright.foundation import SecurityFoundation

    try:
        async with SecurityFoundation(settings) as foundation:
            checks += [check async for check in components.check_parts(foundation)]
    except SecurityError as error:
        checks.append(finding("parts", error.message, error.recommended_action))
    return checks
