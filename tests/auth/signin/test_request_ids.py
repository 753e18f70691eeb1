"""Events of sign-in carry the id of the request that they happened in."""

from __future__ import annotations

import asyncio

import pytest

from gatewright.errors import InvalidCredentialsError
from gatewright.events import event
from gatewright.logs import bind_request
from tests.auth.access import EMAIL, PASSWORD, world
from tests.auth.identity import HOME


async def test_events_of_sign_in_have_the_id_of_their_request() -> None:
    async with world() as here:
        await here.enrolled()
        here.sink.events.clear()
        with bind_request("req-1"):
            with pytest.raises(InvalidCredentialsError):
                await here.auth.authenticate_manufacturer(EMAIL, "wrong", client=HOME)
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        assert {"auth:login:failed", "auth:mfa:challenged"} <= set(here.sink.kinds())
        assert {e.request_id for e in here.sink.events} == {"req-1"}


async def test_requests_at_once_keep_their_own_ids() -> None:
    async with world() as here:
        here.sink.events.clear()

        async def request(number: int) -> None:
            with bind_request(f"req-{number}"), pytest.raises(InvalidCredentialsError):
                await here.auth.authenticate_manufacturer(f"n{number}@x.example", "wrong", client=HOME)

        await asyncio.gather(*(request(number) for number in range(8)))
        failed = [e.request_id for e in here.sink.events if e.kind == "auth:login:failed"]
        assert sorted(failed, key=str) == [f"req-{number}" for number in range(8)]


def test_an_id_that_is_given_wins_and_outside_of_requests_there_is_none() -> None:
    with bind_request("req-1"):
        assert event("auth:login:failed", request_id="req-2").request_id == "req-2"
    assert event("auth:login:failed").request_id is None
