"""An attacker fails on purpose; the owner's trusted device has a lockout key of its own."""

from __future__ import annotations

import asyncio

import pytest

from gatewright.auth import ClientInfo, PasswordCheck, PasswordHashing
from gatewright.errors import AccountLockedError, InvalidCredentialsError, RateLimitExceededError
from tests.auth.access import EMAIL, PASSWORD, World, world
from tests.auth.identity import CHROME, ELSEWHERE, HOME
from tests.auth.mfa.test_devices import on

ATTEMPTS, ADDRESSES, AT_ONCE = 10_000, 50, 200


def count_checks(hashing: PasswordHashing) -> list[str]:
    """Note each password that is really checked."""
    checked: list[str] = []
    verify = hashing.verify

    async def counted(password_hash: str | None, password: str, *, trusted: bool = False) -> PasswordCheck:
        checked.append(password)
        return await verify(password_hash, password, trusted=trusted)

    hashing.verify = counted  # type: ignore[method-assign] # counts, and does the same
    return checked


async def guess(here: World, number: int) -> str:
    client = ClientInfo(f"198.51.{number % ADDRESSES}.7", CHROME)
    try:
        await here.auth.authenticate_manufacturer(EMAIL, f"guess-{number}", client=client)
    except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError) as error:
        return type(error).__name__
    raise AssertionError("a guess was right")


@pytest.mark.slow
async def test_ten_thousand_failing_logins_from_fifty_addresses() -> None:
    async with world() as here:
        await here.enrolled()
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        owner = on(device.device_token, agent=CHROME)
        checked = count_checks(here.auth.services.hashing)
        outcomes: list[str] = []
        for begin in range(0, ATTEMPTS, AT_ONCE):
            outcomes += await asyncio.gather(*(guess(here, begin + n) for n in range(AT_ONCE)))
            signed_in = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=owner)
            assert signed_in.status == "authenticated"
            here.clock.advance(1)
        guesses = [password for password in checked if password.startswith("guess-")]
        assert len(guesses) == outcomes.count("InvalidCredentialsError") <= 10
        assert len(outcomes) == ATTEMPTS
        assert "auth:account:locked" in here.sink.kinds()
        with pytest.raises(AccountLockedError) as caught:
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=ELSEWHERE)
        assert caught.value.retry_after > 0
        at_home = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        assert at_home.status == "mfa_required", "a network that the account has used keeps a lockout key of its own"
        await here.auth.services.mailer.drain()
        assert [m.kind for m in here.mailbox.messages].count("account_locked") == 1


async def test_a_device_has_its_own_lockout_key_which_locks_too() -> None:
    async with world() as here:
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        stolen = on(device.device_token, agent=CHROME)
        kinds = []
        for _ in range(14):
            with pytest.raises((InvalidCredentialsError, RateLimitExceededError, AccountLockedError)) as caught:
                await here.auth.authenticate_manufacturer(EMAIL, "wrong", client=stolen)
            kinds.append(caught.type.__name__)
        assert kinds[-1] == "AccountLockedError"
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)).status == "authenticated"


async def test_codes_have_a_lockout_key_for_each_trusted_device() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        for number in range(14):
            with pytest.raises((RateLimitExceededError, AccountLockedError)):
                while True:
                    assert not await here.auth.verify_backup_code("mfr_acme", f"ZZZZ2{number:03d}")
        owner = on(device.device_token, agent=CHROME)
        assert await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret), client=owner)


async def test_the_wait_grows_and_waiting_it_out_is_enough() -> None:
    async with world() as here:
        waits = []
        for _ in range(5):
            with pytest.raises(InvalidCredentialsError):
                await here.auth.authenticate_manufacturer(EMAIL, "wrong")
        for _ in range(2):
            with pytest.raises(RateLimitExceededError) as caught:
                await here.auth.authenticate_manufacturer(EMAIL, "wrong")
            waits.append(caught.value.retry_after)
            here.clock.advance(caught.value.retry_after)
            with pytest.raises(InvalidCredentialsError):
                await here.auth.authenticate_manufacturer(EMAIL, "wrong")
        assert waits == [1.0, 2.0]
        here.clock.advance(4)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"


async def test_the_right_password_forgets_the_failures() -> None:
    async with world() as here:
        for _ in range(3):
            for _ in range(4):
                with pytest.raises(InvalidCredentialsError):
                    await here.auth.authenticate_manufacturer(EMAIL, "wrong")
            assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"


async def test_a_lock_ends_and_the_next_is_longer() -> None:
    async with world() as here:
        locks = []
        for _ in range(3):
            error: Exception | None = None
            while not isinstance(error, AccountLockedError):
                try:
                    await here.auth.authenticate_manufacturer(EMAIL, "wrong")
                except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError) as raised:
                    error = raised
            locks.append(error.retry_after)
            here.clock.advance(error.retry_after)
        assert locks == [900.0, 1_800.0, 3_600.0]
        here.clock.advance(3_600)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"
