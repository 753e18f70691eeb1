"""Two hosts whose clocks differ a little share tokens, locks and refresh tokens; a clock that is wrong is caught."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gatewright.auth import ManufacturerAuthManager
from gatewright.errors import (
    AccountLockedError,
    AuthenticationError,
    InvalidTokenError,
    RateLimitExceededError,
    RefreshTokenReuseError,
    TokenExpiredError,
)
from gatewright.testing import ManualClock
from tests.auth.access import EMAIL, PASSWORD, world
from tests.auth.identity import ACME, HOME, SECRET, START, sign_in


@pytest.mark.parametrize("behind", [0.5, 1, 2, 5, 30, 59])
async def test_a_token_of_another_host_is_valid_within_sixty_seconds_of_skew(behind: float) -> None:
    issuing = ManufacturerAuthManager(SECRET, clock=ManualClock(START))
    checking = ManufacturerAuthManager(SECRET, clock=ManualClock(START - timedelta(seconds=behind)))
    async with issuing, checking:
        token = await issuing.generate_manufacturer_token(ACME)
        for _ in range(2):  # the second look is answered from memory
            assert (await checking.validate_token(token))["manufacturer_id"] == "mfr_acme"


@pytest.mark.parametrize("behind", [61, 120, 3_600])
async def test_a_token_from_further_ahead_is_not_valid_yet(behind: float) -> None:
    clock = ManualClock(START - timedelta(seconds=behind))
    issuing = ManufacturerAuthManager(SECRET, clock=ManualClock(START))
    async with issuing, ManufacturerAuthManager(SECRET, clock=clock) as checking:
        token = await issuing.generate_manufacturer_token(ACME)
        with pytest.raises(InvalidTokenError, match="not valid yet"):
            await checking.validate_token(token)
        clock.advance(behind - 60)
        assert await checking.validate_token(token)


async def test_there_is_no_leeway_on_expiry() -> None:
    clock = ManualClock(START)
    async with ManufacturerAuthManager(SECRET, clock=clock) as auth:
        token = await auth.generate_manufacturer_token(ACME, expires_in=timedelta(seconds=30))
        clock.advance(30)
        with pytest.raises(TokenExpiredError):
            await auth.validate_token(token)


async def test_sign_in_survives_a_clock_that_is_set_back_a_little(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with ManufacturerAuthManager(SECRET, clock=clock) as auth:
        done = await sign_in(auth)
        clock.set(START - timedelta(seconds=5))
        assert (await auth.validate_token(done.access_token or ""))["sid"] == done.session_id


async def test_the_grace_of_a_refresh_token_is_not_stretched_by_a_clock_set_back() -> None:
    clock = ManualClock(START)
    async with ManufacturerAuthManager(SECRET, clock=clock) as auth:
        done = await sign_in(auth)
        following = await auth.refresh_tokens(done.refresh_token or "", client=HOME)
        clock.set(START - timedelta(seconds=30))  # another host of Gatewright may be that far behind
        again = await auth.refresh_tokens(done.refresh_token or "", client=HOME)
        assert again.refresh_token == following.refresh_token
        clock.set(START - timedelta(hours=1))
        with pytest.raises(RefreshTokenReuseError):
            await auth.refresh_tokens(done.refresh_token or "", client=HOME)


@pytest.mark.parametrize("hours", [1, 3, 27])
async def test_a_locked_account_opens_after_its_configured_lock_when_the_clock_steps_back(hours: int) -> None:
    async with world() as here:
        for _ in range(14):
            with pytest.raises((AuthenticationError, RateLimitExceededError)):
                await here.auth.authenticate_manufacturer(EMAIL, "wrong", client=HOME)
        here.clock.set(here.clock.now() - timedelta(hours=hours))
        with pytest.raises(AccountLockedError) as caught:
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        assert 0 < caught.value.retry_after <= 900
        here.clock.advance(caught.value.retry_after + 1)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)).status == "authenticated"
