"""``Idempotency-Key``: a creating call that is retried creates nothing more.

As the IETF draft (draft-ietf-httpapi-idempotency-key-header) has it. The first answer is kept for a day, encrypted,
since it may hold a key that is shown once; the same key with another request is refused. Only answers that tell of
something made (201, 202) are kept: after any other the caller may try again with the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gatewright.encryption.reencryption import IDEMPOTENT_RESPONSE
from gatewright.errors import StorageError, StoreUnavailableError
from gatewright.storage.attempts import OneTimeSecret
from gatewright.web.body import read_body, replay
from gatewright.web.problems import Problem
from gatewright.web.request import KEY, IdempotentCall, RequestState
from gatewright.web.rules import Scope

if TYPE_CHECKING:
    from gatewright.foundation import SecurityFoundation

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

KEPT = timedelta(days=1)
RUNNING = timedelta(minutes=1)
"""How long a call may take before its key is free again; a process that was killed leaves it so."""
MAX_ANSWER = 65_536
"""Bytes of an answer at most; a longer one is not kept."""

_ALREADY_BOUNDED = 1 << 40
_CLAIM, _ANSWER = "idempotent call", IDEMPOTENT_RESPONSE
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MADE = frozenset({201, 202})
_FIELDS = (b"content-type", b"location", b"cache-control")


class Idempotency:
    """The layer between the middleware, which knows who is calling, and the application.

    The middleware calls :meth:`look_up` once a request may be made and before it takes quota: a retry gets its first
    answer even when the quota is used up by now.

    Args:
        app: the application.
        foundation: its store keeps the answers, its encryption seals them.
    """

    def __init__(self, app: App, *, foundation: SecurityFoundation) -> None:
        self._app = app
        self._foundation = foundation

    async def look_up(self, scope: Scope, receive: Receive, state: RequestState) -> Receive | None:
        """Find the answer that this call was given before, so that nothing is charged for it again.

        Returns the ``receive`` to continue with, or None when the client has gone.

        Raises:
            Problem: 400, the header is not a key.
        """
        given = state.header(b"idempotency-key") if scope.get("method") == "POST" else None
        if given is None:
            return receive
        if not _KEY.fullmatch(given):
            raise Problem(
                400, "INVALID_IDEMPOTENCY_KEY", "Idempotency-Key must be 1 to 255 visible ASCII characters. Use a UUID."
            )
        body = await read_body(receive, None, _ALREADY_BOUNDED)
        if body is None:
            return None
        place = _place(scope, state, given, body)
        call = IdempotentCall(place, _digest(scope["path"], scope["query_string"], body), await self._answer_of(place))
        state.idempotent_call = call
        state.repeated = call.answer is not None
        return replay(body, receive)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: RequestState | None = scope.get(KEY)
        call = None if state is None else state.idempotent_call
        if state is None or call is None:
            await self._app(scope, receive, send)
            return
        answer = call.answer or await self._claim(call.place)
        if answer is not None:
            await self._repeat(answer, call.request, state, send)
            return
        await self._call(scope, receive, send, call.place, call.request, state)

    async def _answer_of(self, place: str) -> OneTimeSecret | None:
        return await self._foundation.store.get_one_time(_ANSWER, place, now=self._foundation.clock.now())

    async def _claim(self, place: str, *, again: bool = True) -> OneTimeSecret | None:
        """None when the call is ours to make; the answer where another process was just done with it.

        Raises:
            Problem: 409, it is being made now.
        """
        store = self._foundation.store
        try:
            await store.put_one_time(self._record(_CLAIM, place, {}, RUNNING))
        except StoreUnavailableError:
            raise
        except StorageError:
            answer = await self._answer_of(place)
            if answer is not None:
                return answer
            if await store.get_one_time(_CLAIM, place, now=self._foundation.clock.now()) is not None:
                raise Problem(
                    409,
                    "CALL_IN_PROGRESS",
                    "A request with this Idempotency-Key is in progress. Retry in a second.",
                    headers={"Retry-After": "1"},
                ) from None
            if not again:
                raise
            await store.drop_one_time(_CLAIM, place)  # of a process that was killed
            return await self._claim(place, again=False)
        return None

    async def _repeat(self, answer: OneTimeSecret, request: str, state: RequestState, send: Send) -> None:
        if answer.data["request"] != request:
            raise Problem(
                422,
                "IDEMPOTENCY_KEY_REUSED",
                "This Idempotency-Key was used for a different request. Use a new key for each request.",
            )
        kept = await self._foundation.encryption.decrypt_manufacturer_data(answer.data["sealed"])
        state.repeated = True
        headers = [(name, value) for name, value in kept["headers"]]
        await send({"type": "http.response.start", "status": kept["status"], "headers": headers})
        await send({"type": "http.response.body", "body": kept["body"]})

    async def _call(
        self, scope: Scope, receive: Receive, send: Send, place: str, request: str, state: RequestState
    ) -> None:
        store, answer, done = self._foundation.store, _Answer(send), False
        try:
            await self._app(scope, receive, answer)
            if answer.worth_keeping:
                sealed = await self._foundation.encryption.encrypt_manufacturer_data(
                    answer.plain(), manufacturer_id=None if state.caller is None else state.caller.manufacturer_id
                )
                data = {"request": request, "sealed": sealed}
                await store.drop_one_time(_ANSWER, place)  # one that has expired
                await store.put_one_time(self._record(_ANSWER, place, data, KEPT))
                done = True
        finally:
            if not done:
                await store.take_one_time(_CLAIM, place, now=self._foundation.clock.now())
        await answer.deliver()

    def _record(self, purpose: str, place: str, data: dict[str, Any], lifetime: timedelta) -> OneTimeSecret:
        now = self._foundation.clock.now()
        return OneTimeSecret(
            key=place, purpose=purpose, subject=place, data=data, created_at=now, expires_at=now + lifetime
        )


class _Answer:
    """Takes an application's answer; holds it back where it tells of something made, so that it is kept first."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {"status": 0}
        self._chunks: list[bytes] = []
        self._held = False
        self._whole = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            self._held = message["status"] in _MADE
            if not self._held:
                await self._send(message)
        elif self._held and message["type"] == "http.response.body":
            self._chunks.append(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if sum(map(len, self._chunks)) > MAX_ANSWER:
                await self.deliver(more=not self._whole)
        else:
            await self._send(message)

    @property
    def worth_keeping(self) -> bool:
        return self._held and self._whole

    def plain(self) -> dict[str, Any]:
        fields = [(name, value) for name, value in self._start["headers"] if name.lower() in _FIELDS]
        return {"status": self._start["status"], "headers": fields, "body": b"".join(self._chunks)}

    async def deliver(self, *, more: bool = False) -> None:
        """Send what was held back; once."""
        if self._held:
            self._held = False
            await self._send(self._start)
            await self._send({"type": "http.response.body", "body": b"".join(self._chunks), "more_body": more})


def _place(scope: Scope, state: RequestState, key: str, body: bytes) -> str:
    """Where an answer is kept: apart for each caller and credential, so that keys of two callers never meet.

    A session is one credential, whatever token of it is used; so is each API key. Of unknown callers only the very
    same request is a repetition.
    """
    caller = state.caller
    if caller is None:
        return _digest("anonymous", scope["path"], key, body)
    credential = state.session_id or str(state.claims.get("jti", ""))
    if state.by == "api_key":
        given = state.header(b"x-api-key") or state.header(b"authorization") or ""
        credential = given.rpartition(" ")[2]
    return _digest("of", caller.manufacturer_id, caller.account_id or "", state.by, credential, key)


def _digest(*parts: str | bytes) -> str:
    raw = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in raw)).hexdigest()
