"""Email delivery in the background, so that response times reveal nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from gatewright import event_kinds
from gatewright.clock import Clock, SystemClock
from gatewright.errors import SecurityError
from gatewright.events import EventSink, Severity, emitter
from gatewright.notify import Message, Notifier

WAITING = 1_000
"""Maximum number of emails in delivery. Further ones are dropped, each with an event."""


class Mailer:
    """Sends email in the background. A failure is an event, never an error for the caller.

    Args:
        notifier: delivers email. None: no email is sent.
    """

    def __init__(self, notifier: Notifier | None, *, sink: EventSink | None = None, clock: Clock | None = None) -> None:
        self._notifier = notifier
        self._emit = emitter(sink, clock or SystemClock())
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, to: str, subject: str, body: str, *, kind: str, data: Mapping[str, Any] | None = None) -> None:
        """Send a message in the background."""
        if self._notifier is None:
            return
        if len(self._tasks) >= WAITING:
            self._failed(kind, "OUTBOX_FULL")
            return
        message = Message(to=to, subject=subject, body=body, kind=kind, data=data or {})
        self.spawn(self._send(self._notifier, message))
        await asyncio.sleep(0)  # lets a notifier that does not wait finish now

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` in the background until it is done. :meth:`drain` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until every message was sent or has failed."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _send(self, notifier: Notifier, message: Message) -> None:
        try:
            await notifier.send(message)
        except SecurityError as error:
            self._failed(message.kind, error.code)
        except Exception as error:  # a custom notifier may raise anything
            self._failed(message.kind, type(error).__name__)

    def _failed(self, kind: str, code: str) -> None:
        self._emit(event_kinds.AUTH_MAIL_FAILED, Severity.WARNING, message_kind=kind, code=code)
