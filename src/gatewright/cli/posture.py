"""``gatewright posture``: posture findings, and the measures that address them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli.bootstrap import opened, run
from gatewright.cli.output import FOUND, Json, print_json, print_line, print_table

if TYPE_CHECKING:
    from gatewright.monitoring import InForce, PostureFinding, Proposal

app = typer.Typer(help="Assess the posture, apply and roll back measures.", no_args_is_help=True)

ProposalId = Annotated[str, typer.Argument(help="Id of the proposal, from `posture assess`.")]

AppliedId = Annotated[
    str, typer.Argument(help="Id of the measure in force, or of its proposal, from `posture assess`.")
]


@app.command()
def assess(json: Json = False) -> None:
    """List posture findings, the measures that would fix them, and the measures in force.

    Exit code 1 if there are findings.
    """
    findings, proposals, in_force = run(_assess())
    if json:
        print_json({"findings": findings, "proposals": proposals, "in_force": in_force})
    elif not findings:
        print_line("No posture findings.")
    else:
        print_table(
            "Findings",
            ("severity", "finding", "summary", "fix"),
            [(f.severity, f.finding_id, f.summary, f.advice) for f in findings],
        )
        if proposals:
            print_table("Proposals", ("id", "measure"), [(p.proposal_id, p.summary) for p in proposals])
            print_line("Apply one with `gatewright posture apply ID`.")
    if in_force and not json:
        print_table(
            "In force",
            ("id", "measure", "until", "by"),
            [
                (m.id, m.summary, m.until.isoformat(timespec="seconds") if m.until else "-", m.created_by)
                for m in in_force
            ],
        )
        print_line("Roll one back with `gatewright posture roll-back ID`.")
    raise typer.Exit(FOUND if findings else 0)


async def _assess() -> tuple[list[PostureFinding], list[Proposal], list[InForce]]:
    async with opened() as foundation:
        monitor = foundation.monitor
        return await monitor.assess(), await monitor.propose(), await monitor.measures_in_force()


@app.command("apply")
def apply_proposal(proposal_id: ProposalId, json: Json = False) -> None:
    """Apply a proposal in every process of the service."""
    _show(run(_change(proposal_id, apply=True)), "in force", json=json)


@app.command("roll-back")
def roll_back(proposal_id: AppliedId, json: Json = False) -> None:
    """Roll back a measure and restore the previous state."""
    _show(run(_change(proposal_id, apply=False)), "lifted", json=json)


async def _change(proposal_id: str, *, apply: bool) -> Proposal:
    async with opened() as foundation:
        change = foundation.monitor.apply if apply else foundation.monitor.roll_back
        return await change(proposal_id, actor=operator())


def operator() -> str:
    """The operating-system user, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return "cli"


def _show(proposal: Proposal, state: str, *, json: bool) -> None:
    if json:
        print_json(proposal)
    else:
        print_line(f"{state}: {proposal.summary}")
