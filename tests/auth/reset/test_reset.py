"""Password change and reset."""

from __future__ import annotations

import pytest

from gatewright.auth import AccessOptions
from gatewright.errors import (
    AccountLockedError,
    InvalidCredentialsError,
    InvalidTokenError,
    MFARequiredError,
    RateLimitExceededError,
    ValidationError,
)
from tests.auth.access import CHEAP, EMAIL, PASSWORD, World, world
from tests.auth.identity import HOME

NEW = "Marmalade-otter-77"


async def token_for(here: World, email: str = EMAIL) -> str:
    await here.auth.request_password_reset(email)
    return str(here.mailbox.last(EMAIL, kind="reset_password").data["token"])


async def test_a_reset_replaces_the_password_and_ends_what_was_open() -> None:
    async with world() as here:
        before = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        device = await here.auth.register_trusted_device("mfr_acme", HOME)
        await here.auth.reset_password(await token_for(here, EMAIL.upper()), NEW)
        assert not await here.auth.validate_session(before.session_id or "")
        assert not await here.auth.verify_device("mfr_acme", device.device_token or "", client=HOME)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        assert (await here.auth.authenticate_manufacturer(EMAIL, NEW)).status == "authenticated"
        assert here.mailbox.last(EMAIL).kind == "password_changed"


async def test_a_token_works_once_and_so_does_only_one_of_several() -> None:
    async with world() as here:
        first, second = await token_for(here), await token_for(here)
        await here.auth.reset_password(first, NEW)
        for token in (first, second):
            with pytest.raises(InvalidTokenError) as caught:
                await here.auth.reset_password(token, "Another-lantern-88")
            assert caught.value.code == "INVALID_RESET_TOKEN"


async def test_a_token_expires() -> None:
    async with world() as here:
        token = await token_for(here)
        here.clock.advance(30 * 60 + 1)
        with pytest.raises(InvalidTokenError):
            await here.auth.reset_password(token, NEW)


@pytest.mark.parametrize("token", ["", "x", None, 7, "x" * 2_000, "\ud800"])
async def test_any_token_may_be_presented(token: str) -> None:
    async with world() as here:
        with pytest.raises(InvalidTokenError):
            await here.auth.reset_password(token, NEW)


async def test_a_password_that_does_not_pass_leaves_the_token_good() -> None:
    async with world() as here:
        token = await token_for(here)
        with pytest.raises(ValidationError) as caught:
            await here.auth.reset_password(token, "short")
        assert caught.value.errors[0].field == "new_password"
        await here.auth.reset_password(token, NEW)


async def test_a_reset_never_bypasses_the_second_factor() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        token = await token_for(here)
        with pytest.raises(MFARequiredError):
            await here.auth.reset_password(token, NEW)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.reset_password(token, NEW, mfa_code="ZZZZ2222")
        await here.auth.reset_password(token, NEW, mfa_code=here.code(enrolment.secret))
        assert (await here.auth.authenticate_manufacturer(EMAIL, NEW)).status == "mfa_required"


async def test_while_factors_are_recovered_the_mailbox_alone_is_not_enough() -> None:
    async with world() as here:
        await here.enrolled()
        token = await token_for(here)
        await here.auth.reset_mfa("mfr_acme", actor="staff", reason="phone lost")
        with pytest.raises(MFARequiredError) as caught:
            await here.auth.reset_password(token, NEW)
        assert caught.value.code == "RECOVERY_PENDING"
        enrolment = await here.enrolled()
        await here.auth.reset_password(token, NEW, mfa_code=enrolment.backup_codes[0])


async def test_guessing_codes_at_the_reset_meets_the_same_limit() -> None:
    async with world() as here:
        await here.enrolled()
        token = await token_for(here)
        kinds = []
        for number in range(20):
            with pytest.raises((InvalidCredentialsError, RateLimitExceededError, AccountLockedError)) as caught:
                await here.auth.reset_password(token, NEW, mfa_code=f"ZZZZ2{number:03d}")
            kinds.append(caught.type.__name__)
        assert kinds.count("InvalidCredentialsError") <= 10
        assert kinds[-1] == "AccountLockedError"


async def test_nothing_tells_whether_an_address_is_known() -> None:
    async with world() as here:

        async def rows() -> list[tuple[int, int]]:
            sql = "SELECT length(key), length(data) FROM one_time_secrets ORDER BY created_at"
            return list(await here.auth.store.engine.read(lambda c: c.execute(sql).fetchall()))  # type: ignore[attr-defined] # SQLite here

        for email in (EMAIL, "nobody@acme.example", "", "x" * 5_000, None):
            here.clock.advance(1)
            assert await here.auth.request_password_reset(email) is None  # type: ignore[arg-type,func-returns-value] # any caller
        kept = await rows()
        assert len(kept) == 5 and len(set(kept)) == 1
        assert [m.to for m in here.mailbox.messages] == [EMAIL]


async def test_a_mailbox_is_not_flooded() -> None:
    async with world() as here:
        for _ in range(20):
            await here.auth.request_password_reset(EMAIL)
        assert len(here.mailbox.messages) == 5


async def test_a_reset_ends_the_lockout_that_guesses_caused() -> None:
    async with world() as here:
        for _ in range(12):
            with pytest.raises((InvalidCredentialsError, RateLimitExceededError, AccountLockedError)):
                await here.auth.authenticate_manufacturer(EMAIL, "wrong")
        with pytest.raises(AccountLockedError):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        await here.auth.reset_password(await token_for(here), NEW)
        assert (await here.auth.authenticate_manufacturer(EMAIL, NEW)).status == "authenticated"


async def test_a_sign_in_that_waits_for_its_code_dies_with_the_password() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        await here.auth.reset_password(await token_for(here), NEW, mfa_code=enrolment.backup_codes[0])
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge.challenge_id or "", here.code(enrolment.secret))


async def test_the_disabled_get_no_mail() -> None:
    async with world() as here:
        token = await token_for(here)
        await here.auth.store.update_manufacturer("mfr_acme", status="disabled")
        await here.auth.request_password_reset(EMAIL)
        assert len(here.mailbox.messages) == 1
        with pytest.raises(InvalidTokenError):
            await here.auth.reset_password(token, NEW)


async def test_in_a_foundation_the_mail_tells_the_call_that_takes_its_token() -> None:
    async with world(strict_tenants=True) as here:
        await here.auth.request_password_reset(EMAIL)
        message = here.mailbox.last(EMAIL)
        assert "POST http://localhost:8000/v1/auth/password/reset" in message.body
        assert f'{{"token": "{message.data["token"]}", "new_password": "<a new password>"}}' in message.body
        assert "link" not in message.data


async def test_where_there_are_account_pages_the_mail_links_to_one() -> None:
    options = AccessOptions(argon2=CHEAP, account_pages_url="https://shop.example/account/")
    async with world(options=options) as here:
        await here.auth.request_password_reset(EMAIL)
        message = here.mailbox.last(EMAIL)
        assert message.data["link"] == f"https://shop.example/account/reset#token={message.data['token']}"
        assert message.data["link"] in message.body


# --- change ---------------------------------------------------------------------------------------------------------


async def test_changing_takes_the_current_password_and_keeps_the_own_session() -> None:
    async with world() as here:
        mine = (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).session_id or ""
        other = (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).session_id or ""
        with pytest.raises(InvalidCredentialsError):
            await here.auth.change_password("mfr_acme", "wrong", NEW, session_id=mine)
        await here.auth.change_password("mfr_acme", PASSWORD, NEW, session_id=mine)
        assert await here.auth.validate_session(mine)
        assert not await here.auth.validate_session(other)
        assert (await here.auth.authenticate_manufacturer(EMAIL, NEW)).status == "authenticated"


@pytest.mark.parametrize("new", [PASSWORD, "short", "AcmeTools-2026-owner", None])
async def test_a_new_password_that_does_not_pass_changes_nothing(new: str) -> None:
    async with world() as here:
        with pytest.raises(ValidationError):
            await here.auth.change_password("mfr_acme", PASSWORD, new)
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"


async def test_guessing_the_current_password_from_a_stolen_session_locks_that_alone() -> None:
    async with world() as here:
        kinds = []
        for _ in range(15):
            with pytest.raises((InvalidCredentialsError, RateLimitExceededError, AccountLockedError)) as caught:
                await here.auth.change_password("mfr_acme", "wrong", NEW)
            kinds.append(caught.type.__name__)
        assert kinds[-1] == "AccountLockedError"
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"
