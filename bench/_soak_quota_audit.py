"""The audit of a soak round: what the journals say against what is counted, unit for unit.

The only doubt allowed is about calls that were under way in the process that was killed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bench._soak_quota_worker import LIMITS, Round, SwiftClock
from gatewright.rbac import month_start, next_month_start
from gatewright.records import Record

NEVER = 2**63
STALE_SECONDS = 1.0
"""Another process honours a change of tier within this, and within what the machine kept a call waiting besides."""


class Call(Record, frozen=True, kw_only=True):
    """One call of the journal; ``end`` is NEVER for one that was under way when the process was killed.

    ``cycle`` is the end of the billing month that it counts in, ``limit`` the one that was informed, or set.
    """

    process: int
    kind: str
    amount: int
    begin: int
    end: int
    granted: bool = False
    cycle: int = 0
    limit: int = 0
    current: int = 0


def read_journal(path: Path, process: int) -> list[Call]:
    """The calls of one process. A last line without its end was never finished, and counts as not written."""
    text = path.read_text() if path.exists() else ""
    lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
    ends = {line[1]: line for line in lines if line[0] == "end"}
    calls = []
    for _, number, begin, kind, *values in (line for line in lines if line[0] == "begin"):
        _, _, end, *came_to = ends.get(number, ["", "", str(NEVER)])
        granted = came_to[:1] == ["granted"]
        told = [int(value) for value in came_to[1:]]
        calls.append(
            Call(
                process=process,
                kind=kind,
                amount=int(values[0]) if kind != "tier" else 0,
                begin=int(begin),
                end=int(end),
                granted=granted,
                cycle=int(values[1]) if kind == "refund" else told[0] if granted else 0,
                limit=int(values[0]) if kind == "tier" else told[1] if granted else 0,
                current=told[2] if granted else 0,
            )
        )
    return calls


class Audit:
    """The calls of all processes of a round."""

    def __init__(self, shared: Round, calls: Iterable[Call], *, billing_day: int) -> None:
        self.calls = sorted(calls, key=lambda call: call.begin)
        self.granted = [call for call in self.calls if call.granted]
        self.refunds = [call for call in self.calls if call.kind == "refund"]
        first = Call(process=-1, kind="tier", amount=0, begin=0, end=0, limit=LIMITS["free"])
        self.tiers = [first, *(call for call in self.calls if call.kind == "tier")]
        self.in_doubt = sum(call.amount for call in self.calls if call.kind == "take" and call.end == NEVER)
        self.cycles = sorted({call.cycle for call in self.granted})
        self.stalest = 0.0
        """Seconds for which the limit of a former tier was still spent from, at most."""
        self._lag = STALE_SECONDS + max((call.end - call.begin for call in self.granted), default=0) / 1e9
        self._clock = SwiftClock(shared)
        self._billing_day = billing_day

    def net(self) -> dict[int, int]:
        """What was granted and not given back, by cycle; calls in doubt are left out."""
        net: dict[int, int] = defaultdict(int)
        for call in self.granted:
            net[call.cycle] += call.amount
        for call in self.refunds:
            net[call.cycle] -= call.amount if call.end != NEVER else 0
        return dict(net)

    def problems(self) -> list[str]:
        """What breaks a promise in the calls themselves."""
        found = [text for call in self.granted if (text := self._wrong_with(call))]
        return found + self._overshoots()

    def unaccounted(self, counted: dict[int, int]) -> list[str]:
        """Where what is counted (by end of cycle) is not what was granted and not given back."""
        found, net, doubt = [], self.net(), 0
        for cycle in sorted({*counted, *net}):
            given_back = sum(c.amount for c in self.refunds if c.end == NEVER and c.cycle == cycle)
            used, known = counted.get(cycle, 0), net.get(cycle, 0)
            doubt += max(0, used - known)
            if used < known - given_back or doubt > self.in_doubt:
                found.append(
                    f"cycle {cycle}: {known} granted and kept, {used} counted; in doubt are {self.in_doubt} taken and"
                    f" {given_back} given back"
                )
        return found

    def _wrong_with(self, call: Call) -> str | None:
        if call.current > call.limit:
            return f"granted at {call.current} of {call.limit}"
        moments = self._clock.at(call.begin), self._clock.at(call.end)
        earliest = next_month_start(month_start(moments[0], self._billing_day), self._billing_day)
        latest = next_month_start(month_start(moments[1], self._billing_day), self._billing_day)
        if not earliest.timestamp() <= call.cycle <= latest.timestamp():
            return f"counted in the cycle that ends {call.cycle}, but taken from {moments[0]} to {moments[1]}"
        stale = self._staleness(call)
        if stale is None:
            return f"granted by a limit of {call.limit} that its own process had changed before"
        self.stalest = max(self.stalest, stale)
        return (
            f"granted by a limit of {call.limit} that had ended {stale:.3f} s before" if stale > STALE_SECONDS else None
        )

    def _staleness(self, call: Call) -> float | None:
        """Seconds since the limit of a grant was in force for the last time; None where that cannot be excused."""
        best = None
        for change in self.tiers:
            if change.limit != call.limit or change.begin > call.end:
                continue
            later = self._after(change)
            if any(other.process == call.process and other.end <= call.begin for other in later):
                continue  # this process has changed the tier itself since
            until = min((other.end for other in later), default=NEVER)
            stale = max(0.0, (call.begin - until) / 1e9)
            best = stale if best is None else min(best, stale)
        return best

    def _after(self, change: Call) -> list[Call]:
        """The changes of tier that surely came after one."""
        return [other for other in self.tiers if other.begin >= change.end and other is not change]

    def _overshoots(self) -> list[str]:
        """Whether more was surely granted in a cycle than the highest limit that anyone could go by then.

        A grant counts from its end, a refund from its begin, so what is counted here was used at least.
        """
        lag = int(self._lag * 1e9)
        steps = [(call.end, call.amount, call) for call in self.granted]
        steps += [(call.begin, -call.amount, call) for call in self.refunds]
        used: dict[int, int] = defaultdict(int)
        found = []
        for moment, amount, call in sorted(steps, key=lambda step: step[:2]):
            used[call.cycle] += amount
            if amount > 0 and used[call.cycle] > (limit := self._highest(call.begin - lag, moment)):
                found.append(f"{used[call.cycle]} granted in the cycle that ends {call.cycle}, over {limit}")
        return found

    def _highest(self, begin: int, end: int) -> int:
        """The highest limit that may have been in force at some time between."""
        highest = 0
        for change in self.tiers:
            until = min(
                (other.end for other in self.tiers if other.begin >= change.end and other is not change), default=NEVER
            )
            if change.begin <= end and until >= begin:
                highest = max(highest, change.limit)
        return highest
