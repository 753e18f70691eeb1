"""Session risk: a score with named signals that a session is in the wrong hands.

Each signal has a weight from 0 to 1, taken as the chance that a session showing it alone is stolen; the score is
the chance that at least one of them is right. Offline data only; what is not known is no signal.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Protocol

from gatewright import event_kinds
from gatewright.auth.client_signals import Agent, Place, PlaceLookup, network_key, read_agent, travel_speed
from gatewright.auth.records import ClientInfo, RiskAction, RiskSignal, SessionRisk
from gatewright.auth.sessions.service import SessionService
from gatewright.clock import Clock
from gatewright.errors import SessionHijackError
from gatewright.events import EventSink, Severity, event
from gatewright.records import Record
from gatewright.storage.sessions import StoredSession

_FASTEST_KMH = 1000.0


class RiskPolicy(Record, frozen=True, kw_only=True):
    """From which score on policy notes, requires a second factor, ends the session; and the weight of each signal."""

    note: float = 0.3
    require_mfa: float = 0.6
    end: float = 0.9
    network: float = 0.3
    provider: float = 0.25
    country: float = 0.45
    impossible_travel: float = 0.75
    agent_family: float = 0.6
    platform: float = 0.5
    version_downgrade: float = 0.3
    device_token: float = 0.65
    refresh_cadence: float = 0.2
    quickest_refresh: float = 20.0
    """Seconds between two refreshes below which the cadence is a signal; an honest client waits for expiry."""

    def action(self, score: float) -> RiskAction:
        """What is done about a score."""
        if score >= self.end:
            return RiskAction.END
        if score >= self.require_mfa:
            return RiskAction.REQUIRE_MFA
        return RiskAction.NOTE if score >= self.note else RiskAction.NONE


class KnownDevice(Protocol):
    """A trusted device."""

    @property
    def device_id(self) -> str: ...


RecognizeDevice = Callable[[ClientInfo | None], Awaitable[KnownDevice | None]]


class RiskAssessor:
    """Compares a client with what a session was bound to.

    Args:
        sessions: ends a session, or makes it show a factor again.
        places: offline data about networks; None: no signals of place.
        recognize_device: identifies the trusted device of a client. None: devices are not a signal.
    """

    def __init__(
        self,
        *,
        sessions: SessionService,
        clock: Clock,
        sink: EventSink,
        policy: RiskPolicy | None = None,
        places: PlaceLookup | None = None,
        recognize_device: RecognizeDevice | None = None,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._sink = sink
        self._policy = policy or RiskPolicy()
        self._places = places
        self._recognize_device = recognize_device

    def looks_hijacked(self, session: StoredSession, client: ClientInfo) -> bool:
        """Whether network, or family or platform of the user agent, is not what the session was bound to."""
        if session.network and client.ip_address is not None and network_key(client.ip_address) != session.network:
            return True
        if session.user_agent and client.user_agent is not None:
            agent = read_agent(client.user_agent)
            return (agent.family, agent.platform) != (session.agent_family, session.agent_platform)
        return False

    async def assess(
        self, session: StoredSession, client: ClientInfo, *, since_refresh: float | None = None
    ) -> SessionRisk:
        """Grade a session as it is used by this client. Emits an event when there is anything to note.

        Args:
            since_refresh: seconds between this refresh and the one before; None when it is not a refresh.
        """
        signals = [*self._network_signals(session, client), *self._agent_signals(session, client)]
        if session.device_id and self._recognize_device and not await self._is_bound_device(session.device_id, client):
            signals.append(self._signal("device_token", "The trusted device that it was bound to is not shown."))
        if since_refresh is not None and since_refresh < self._policy.quickest_refresh:
            signals.append(self._signal("refresh_cadence", f"Refreshed again after {since_refresh:.0f} s."))
        score = round(1 - math.prod(1 - signal.weight for signal in signals), 4)
        action = self._policy.action(score)
        risk = SessionRisk(session_id=session.session_id, score=score, signals=signals, action=action.value)
        if action is not RiskAction.NONE:
            self._emit(session, client, risk)
        return risk

    async def act(
        self, session: StoredSession, client: ClientInfo, *, since_refresh: float | None = None
    ) -> SessionRisk:
        """Grade a session and do what policy says: end it, make it show a second factor again, or only note it."""
        risk = await self.assess(session, client, since_refresh=since_refresh)
        if risk.action == RiskAction.END:
            await self._sessions.end(session.session_id, reason="hijack_suspected")
        elif risk.action == RiskAction.REQUIRE_MFA:
            await self._sessions.forget_mfa(session.session_id)
        return risk

    async def enforce(
        self, session: StoredSession, client: ClientInfo, *, since_refresh: float | None = None
    ) -> SessionRisk:
        """As :meth:`act`; raises SessionHijackError when the session was ended."""
        risk = await self.act(session, client, since_refresh=since_refresh)
        if risk.action == RiskAction.END:
            raise SessionHijackError("Session ended: used from an unrecognized location.")
        return risk

    def _network_signals(self, session: StoredSession, client: ClientInfo) -> list[RiskSignal]:
        if not session.network or client.ip_address is None or network_key(client.ip_address) == session.network:
            return []
        signals = [self._signal("network", f"The network changed from {session.network}.")]
        before, after = self._place(session.ip_address), self._place(client.ip_address)
        if before is None or after is None:
            return signals
        if before.provider and after.provider and before.provider != after.provider:
            signals.append(self._signal("provider", f"The provider changed from {before.provider}."))
        if before.country and after.country and before.country != after.country:
            signals.append(self._signal("country", f"The country changed from {before.country} to {after.country}."))
        speed = travel_speed(before, after, session.last_activity, self._clock.now())
        if speed is not None and speed > _FASTEST_KMH:
            signals.append(self._signal("impossible_travel", f"Nobody travels at {speed:,.0f} km/h."))
        return signals

    def _agent_signals(self, session: StoredSession, client: ClientInfo) -> list[RiskSignal]:
        if not session.user_agent or client.user_agent is None or client.user_agent == session.user_agent:
            return []
        before, after = read_agent(session.user_agent), read_agent(client.user_agent)
        signals = []
        if after.family != before.family:
            signals.append(self._signal("agent_family", f"The user agent changed from {before.label}."))
        if after.platform != before.platform:
            signals.append(self._signal("platform", f"The platform changed from {before.platform}."))
        if not signals and _is_older(after, before):
            signals.append(self._signal("version_downgrade", "The user agent is older than it was."))
        return signals

    async def _is_bound_device(self, device_id: str, client: ClientInfo) -> bool:
        if self._recognize_device is None or not client.device_token:
            return False
        device = await self._recognize_device(client)
        return device is not None and device.device_id == device_id

    def _place(self, ip_address: str | None) -> Place | None:
        return self._places.place_of(ip_address) if self._places and ip_address else None

    def _signal(self, name: str, detail: str) -> RiskSignal:
        return RiskSignal(name=name, weight=getattr(self._policy, name), detail=detail)

    def _emit(self, session: StoredSession, client: ClientInfo, risk: SessionRisk) -> None:
        serious = risk.action in (RiskAction.END, RiskAction.REQUIRE_MFA)
        self._sink.emit(
            event(
                event_kinds.AUTH_SESSION_RISKY,
                severity=Severity.HIGH if serious else Severity.NOTICE,
                timestamp=self._clock.now(),
                manufacturer_id=session.manufacturer_id,
                account_id=session.account_id,
                session_id=session.session_id,
                ip_address=client.ip_address,
                score=risk.score,
                signals=[signal.name for signal in risk.signals],
                action=risk.action,
            )
        )


def _is_older(after: Agent, before: Agent) -> bool:
    return after.version is not None and before.version is not None and after.version < before.version
