"""``Idempotency-Key``: retrying a call that creates something does not create it again.

Follows the IETF draft (draft-ietf-httpapi-idempotency-key-header). The first response is kept for a day, encrypted,
since it may contain an API key that is shown once; the same key with a different request is refused. Only 201 and 202
are kept: after any other status the client may retry with the same key.
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

RETENTION = timedelta(days=1)
"""How long a response is kept."""
CLAIM_LIFETIME = timedelta(minutes=1)
"""How long a call may run before its key is free again, in case its process was killed."""
MAX_RESPONSE = 65_536
"""Bytes of the largest response that is kept."""

_ALREADY_BOUNDED = 1 << 40
_CLAIM, _RESPONSE = "idempotent call", IDEMPOTENT_RESPONSE
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_CREATED = frozenset({201, 202})
_KEPT_HEADERS = (b"content-type", b"location", b"cache-control")


class Idempotency:
    """The layer between the middleware, which authenticates the caller, and the application.

    The middleware calls :meth:`look_up` once a request is authorized and before it takes quota, so a retry gets the
    first response even if the quota has run out since.

    Args:
        app: the application.
        foundation: stores and encrypts the responses.
    """

    def __init__(self, app: App, *, foundation: SecurityFoundation) -> None:
        self._app = app
        self._foundation = foundation

    async def look_up(self, scope: Scope, receive: Receive, state: RequestState) -> Receive | None:
        """Find the response that this call got before, so that it is not charged again.

        Returns the ``receive`` to continue with, or None if the client disconnected.

        Raises:
            Problem: 400 for a malformed key.
        """
        key = state.header(b"idempotency-key") if scope.get("method") == "POST" else None
        if key is None:
            return receive
        if not _KEY.fullmatch(key):
            raise Problem(
                400, "INVALID_IDEMPOTENCY_KEY", "Idempotency-Key must be 1 to 255 visible ASCII characters. Use a UUID."
            )
        body = await read_body(receive, None, _ALREADY_BOUNDED)
        if body is None:
            return None
        record_key = _record_key(scope, state, key, body)
        request_digest = _digest(scope["path"], scope["query_string"], body)
        call = IdempotentCall(record_key, request_digest, await self._kept_response(record_key))
        state.idempotent_call = call
        state.repeated = call.response is not None
        return replay(body, receive)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: RequestState | None = scope.get(KEY)
        call = None if state is None else state.idempotent_call
        if state is None or call is None:
            await self._app(scope, receive, send)
            return
        kept = call.response or await self._claim(call.record_key)
        if kept is None:
            await self._call(scope, receive, send, call, state)
        else:
            await self._repeat(kept, call, state, send)

    async def _kept_response(self, record_key: str) -> OneTimeSecret | None:
        return await self._foundation.store.get_one_time(_RESPONSE, record_key, now=self._foundation.clock.now())

    async def _claim(self, record_key: str, *, retry: bool = True) -> OneTimeSecret | None:
        """Claim the call: None once claimed, or the response if another process has just completed it.

        Raises:
            Problem: 409 while another process is running it.
        """
        store = self._foundation.store
        try:
            await store.put_one_time(self._record(_CLAIM, record_key, {}, CLAIM_LIFETIME))
        except StoreUnavailableError:
            raise
        except StorageError:
            response = await self._kept_response(record_key)
            if response is not None:
                return response
            if await store.get_one_time(_CLAIM, record_key, now=self._foundation.clock.now()) is not None:
                raise Problem(
                    409,
                    "CALL_IN_PROGRESS",
                    "A request with this Idempotency-Key is in progress. Retry in a second.",
                    headers={"Retry-After": "1"},
                ) from None
            if not retry:
                raise
            await store.drop_one_time(_CLAIM, record_key)  # left by a process that was killed
            return await self._claim(record_key, retry=False)
        return None

    async def _repeat(self, kept: OneTimeSecret, call: IdempotentCall, state: RequestState, send: Send) -> None:
        if kept.data["request"] != call.request_digest:
            raise Problem(
                422,
                "IDEMPOTENCY_KEY_REUSED",
                "This Idempotency-Key was used for a different request. Use a new key for each request.",
            )
        response = await self._foundation.encryption.decrypt_manufacturer_data(kept.data["sealed"])
        state.repeated = True
        headers = [(name, value) for name, value in response["headers"]]
        await send({"type": "http.response.start", "status": response["status"], "headers": headers})
        await send({"type": "http.response.body", "body": response["body"]})

    async def _call(
        self, scope: Scope, receive: Receive, send: Send, call: IdempotentCall, state: RequestState
    ) -> None:
        store, response, kept = self._foundation.store, _HeldResponse(send), False
        try:
            await self._app(scope, receive, response)
            if response.should_be_kept:
                sealed = await self._foundation.encryption.encrypt_manufacturer_data(
                    response.to_dict(), manufacturer_id=None if state.caller is None else state.caller.manufacturer_id
                )
                data = {"request": call.request_digest, "sealed": sealed}
                await store.drop_one_time(_RESPONSE, call.record_key)  # an expired one
                await store.put_one_time(self._record(_RESPONSE, call.record_key, data, RETENTION))
                kept = True
        finally:
            if not kept:
                await store.take_one_time(_CLAIM, call.record_key, now=self._foundation.clock.now())
        await response.release()

    def _record(self, purpose: str, record_key: str, data: dict[str, Any], lifetime: timedelta) -> OneTimeSecret:
        now = self._foundation.clock.now()
        return OneTimeSecret(
            key=record_key, purpose=purpose, subject=record_key, data=data, created_at=now, expires_at=now + lifetime
        )


class _HeldResponse:
    """A ``send`` that holds a 201 or 202 back, so that the response is stored before the client sees it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {"status": 0}
        self._chunks: list[bytes] = []
        self._held = False
        self._complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            self._held = message["status"] in _CREATED
            if not self._held:
                await self._send(message)
        elif self._held and message["type"] == "http.response.body":
            self._chunks.append(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if sum(map(len, self._chunks)) > MAX_RESPONSE:
                await self.release(more=not self._complete)
        else:
            await self._send(message)

    @property
    def should_be_kept(self) -> bool:
        return self._held and self._complete

    def to_dict(self) -> dict[str, Any]:
        headers = [(name, value) for name, value in self._start["headers"] if name.lower() in _KEPT_HEADERS]
        return {"status": self._start["status"], "headers": headers, "body": b"".join(self._chunks)}

    async def release(self, *, more: bool = False) -> None:
        """Send what was held back. Later calls do nothing."""
        if self._held:
            self._held = False
            await self._send(self._start)
            await self._send({"type": "http.response.body", "body": b"".join(self._chunks), "more_body": more})


def _record_key(scope: Scope, state: RequestState, key: str, body: bytes) -> str:
    """The store's key for a response, separate for each caller and credential so that equal keys never collide.

    A session is one credential, whichever of its tokens is used; so is each API key. For anonymous callers only an
    identical request is a retry.
    """
    caller = state.caller
    if caller is None:
        return _digest("anonymous", scope["path"], key, body)
    credential = state.session_id or str(state.claims.get("jti", ""))
    if state.by == "api_key":
        header = state.header(b"x-api-key") or state.header(b"authorization") or ""
        credential = header.rpartition(" ")[2]
    return _digest("of", caller.manufacturer_id, caller.account_id or "", state.by, credential, key)


def _digest(*parts: str | bytes) -> str:
    raw = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in raw)).hexdigest()
