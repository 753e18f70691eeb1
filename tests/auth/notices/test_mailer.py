"""Email is sent in the background, and never fails the call that requested it."""

from __future__ import annotations

import asyncio

from gatewright.auth import WAITING, Mailer
from gatewright.notify import MemoryNotifier, Message, NotificationError
from gatewright.testing import ListSink
from tests.auth.access import EMAIL, world


class Broken:
    """A notifier that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def send(self, message: Message) -> None:
        raise self.error


class Slow:
    """A notifier that waits until it is told to continue."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.sent = 0

    async def send(self, message: Message) -> None:
        await self.go.wait()
        self.sent += 1


async def post(outbox: Mailer) -> None:
    await outbox.post("a@b.example", "Subject", "Body", kind="test")


async def test_a_notifier_with_nothing_to_wait_for_is_done_at_once() -> None:
    notifier = MemoryNotifier()
    await post(Mailer(notifier))
    assert notifier.last().kind == "test"


async def test_a_notifier_that_fails_makes_an_event_and_no_error() -> None:
    for error, code in ((NotificationError("no"), "NOTIFICATION_FAILED"), (RuntimeError("secret"), "RuntimeError")):
        sink = ListSink()
        outbox = Mailer(Broken(error), sink=sink)
        await post(outbox)
        await outbox.drain()
        (failed,) = sink.events
        assert (failed.kind, failed.data) == ("auth:mail:failed", {"message_kind": "test", "code": code})


async def test_without_a_notifier_nothing_is_sent() -> None:
    outbox = Mailer(None)
    await post(outbox)
    await outbox.drain()


async def test_what_waits_is_bounded_and_drained() -> None:
    slow, sink = Slow(), ListSink()
    outbox = Mailer(slow, sink=sink)
    for _ in range(WAITING + 3):
        await post(outbox)
    assert [e.data["code"] for e in sink.events] == ["OUTBOX_FULL"] * 3
    slow.go.set()
    await outbox.drain()
    assert slow.sent == WAITING


async def test_sign_in_does_not_depend_on_the_mail_server() -> None:
    async with world(partners={"notifier": Broken(NotificationError("down"))}) as here:
        await here.auth.request_password_reset(EMAIL)
        await here.enrolled()
        await here.auth.services.mailer.drain()
        assert "auth:mail:failed" in here.sink.kinds()
