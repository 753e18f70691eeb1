"""Enrollment, renewal and removal of second factors; every path uses up the TOTP step, and none bypasses them."""

from __future__ import annotations

import asyncio
import re

import pyotp
import pytest
from hypothesis import given, settings, strategies as st

from gatewright.auth import AccessOptions
from gatewright.errors import (
    AccountLockedError,
    AuthorizationError,
    InvalidCredentialsError,
    RateLimitExceededError,
    ValidationError,
)
from tests.auth.access import CHEAP, EMAIL, PASSWORD, World, world


async def test_a_manager_built_alone_takes_a_manufacturer_as_it_comes() -> None:
    async with world(register=False) as here:
        enrolment = await here.auth.setup_mfa("mfr_x")
        assert re.fullmatch(r"[A-Z2-7]{32}", enrolment.secret)
        assert len(set(enrolment.backup_codes)) == 10
        assert all(re.fullmatch(r"[A-Z0-9]{8}", code) for code in enrolment.backup_codes)
        assert await here.auth.verify_mfa_token("mfr_x", here.code(enrolment.secret))
        assert await here.auth.verify_backup_code("mfr_x", enrolment.backup_codes[3])


async def test_in_a_foundation_an_unknown_manufacturer_is_refused() -> None:
    async with world(strict_tenants=True) as here:
        with pytest.raises(AuthorizationError) as caught:
            await here.auth.setup_mfa("mfr_x", account_id="acc_x")
        assert caught.value.code == "UNKNOWN_MANUFACTURER"
        owner = await here.auth.store.owner_of("mfr_acme")
        assert owner is not None and await here.auth.setup_mfa("mfr_acme", account_id=owner.account_id)
        await here.auth.store.update_manufacturer("mfr_acme", status="disabled")
        with pytest.raises(AuthorizationError):
            await here.auth.setup_mfa("mfr_acme", account_id=owner.account_id)


@pytest.mark.parametrize("manufacturer_id", ["", "x" * 129, None, 7])
async def test_ids_out_of_bounds_are_refused(manufacturer_id: object) -> None:
    async with world(register=False) as here:
        with pytest.raises(ValidationError):
            await here.auth.setup_mfa(manufacturer_id)  # type: ignore[arg-type] # what a careless caller passes


async def test_sign_in_asks_only_once_it_is_confirmed() -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        assert not await here.auth.mfa_enabled("mfr_acme")
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"
        assert await here.auth.confirm_mfa("mfr_acme", here.code(enrolment.secret))
        assert await here.auth.mfa_enabled("mfr_acme")
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "mfa_required"
        assert "auth:mfa:enabled" in here.sink.kinds()


async def test_a_first_successful_check_turns_it_on_as_well() -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        assert await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret))
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "mfa_required"


async def test_a_step_is_accepted_once_and_never_an_older_one() -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        now, before, after = (here.code(enrolment.secret, steps=n) for n in (0, -1, 1))
        assert await here.auth.confirm_mfa("mfr_acme", now)
        assert not await here.auth.verify_mfa_token("mfr_acme", now), "used when MFA was confirmed"
        assert not await here.auth.verify_mfa_token("mfr_acme", before), "older than the last"
        assert await here.auth.verify_mfa_token("mfr_acme", after), "one step of tolerance"
        assert not await here.auth.verify_mfa_token("mfr_acme", after)
        here.clock.advance(60)
        challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        code = here.code(enrolment.secret)
        assert (await here.auth.complete_mfa(challenge.challenge_id or "", code)).status == "authenticated"
        assert not await here.auth.verify_mfa_token("mfr_acme", code), "used at sign-in"


async def test_two_steps_away_is_too_far_and_the_event_says_how_far_the_clock_is_off() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        assert not await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret, steps=4))
        drift = next(e for e in here.sink.events if e.kind == "auth:mfa:clock_drift")
        assert drift.data["drift_seconds"] == 120


async def test_confirming_with_a_wrong_clock_tells_so() -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.confirm_mfa("mfr_acme", here.code(enrolment.secret, steps=-6))
        assert caught.value.code == "INVALID_MFA_CODE"
        assert caught.value.drift_seconds == -180
        assert "Your phone's clock is about 180 seconds off." in str(caught.value)
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.confirm_mfa("mfr_acme", "12x")
        assert "drift_seconds" not in caught.value.context


async def test_used_codes_are_refused_but_are_no_guesses() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        code = here.code(enrolment.secret)
        assert await here.auth.verify_mfa_token("mfr_acme", code)
        assert await here.auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0])
        for _ in range(25):
            assert not await here.auth.verify_mfa_token("mfr_acme", code)
            assert not await here.auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0])
        here.clock.advance(30)
        assert await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret))


async def test_what_has_not_the_shape_of_a_code_is_no_guess() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        for nonsense in ("", "12345", "abcdef", "1234567", None, 5, "x" * 10_000, ["123456"]):
            for _ in range(4):
                assert not await here.auth.verify_mfa_token("mfr_acme", nonsense)  # type: ignore[arg-type] # as above
                assert not await here.auth.verify_backup_code("mfr_acme", nonsense)  # type: ignore[arg-type] # as above
        assert await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret))


async def wrong_guesses(here: World, secret: str, count: int) -> list[str]:
    """What ``count`` wrong codes in a row come to."""
    seen, right = [], {here.code(secret, steps=n) for n in range(-2, 3)}
    for guess in (f"{number:06d}" for number in range(10**6)):
        if len(seen) == count:
            break
        if guess in right:
            continue
        try:
            seen.append(str(await here.auth.verify_mfa_token("mfr_acme", guess)))
        except (RateLimitExceededError, AccountLockedError) as error:
            assert error.retry_after > 0
            seen.append(type(error).__name__)
    return seen


async def test_at_most_ten_guesses_are_checked_then_delays_then_lockout() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        seen = await wrong_guesses(here, enrolment.secret, 30)
        assert 0 < seen.count("False") <= 10
        first_refusal = next(n for n, what in enumerate(seen) if what != "False")
        assert first_refusal <= 10
        assert seen[first_refusal] == "RateLimitExceededError"
        assert seen[-1] == "AccountLockedError"
        with pytest.raises(AccountLockedError):
            await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret))
        with pytest.raises(AccountLockedError):
            await here.auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0])
        here.clock.advance(901)
        assert await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret))


async def test_guesses_that_come_all_at_once_are_counted_before_they_are_checked() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        right = {here.code(enrolment.secret, steps=n) for n in range(-2, 3)}
        guesses = [g for g in (f"{n:06d}" for n in range(300)) if g not in right][:200]
        results = await asyncio.gather(
            *(here.auth.verify_mfa_token("mfr_acme", guess) for guess in guesses), return_exceptions=True
        )
        assert results.count(False) <= 10
        assert all(r is False or isinstance(r, RateLimitExceededError | AccountLockedError) for r in results)


async def test_a_new_app_takes_over_only_when_it_is_confirmed() -> None:
    async with world() as here:
        old = await here.enrolled()
        new = await here.auth.setup_mfa("mfr_acme")
        challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge.challenge_id or "", here.code(new.secret))
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge.challenge_id or "", new.backup_codes[0])
        done = await here.auth.complete_mfa(challenge.challenge_id or "", here.code(old.secret))
        assert done.status == "authenticated"
        here.clock.advance(30)
        await here.auth.confirm_mfa("mfr_acme", here.code(new.secret))
        here.clock.advance(30)
        assert not await here.auth.verify_mfa_token("mfr_acme", here.code(old.secret))
        assert not await here.auth.verify_backup_code("mfr_acme", old.backup_codes[0])
        assert await here.auth.verify_backup_code("mfr_acme", new.backup_codes[0])


async def test_new_backup_codes_kill_the_old_ones() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        codes = await here.auth.generate_backup_codes("mfr_acme")
        assert len(set(codes)) == 10 and not set(codes) & set(enrolment.backup_codes)
        assert not await here.auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0])
        spaced = f" {codes[0][:4].lower()}-{codes[0][4:]} "
        assert await here.auth.verify_backup_code("mfr_acme", spaced)
        assert not await here.auth.verify_backup_code("mfr_acme", codes[0])


async def test_backup_codes_without_an_app() -> None:
    async with world(register=False) as here:
        codes = await here.auth.generate_backup_codes("mfr_x")
        assert await here.auth.verify_backup_code("mfr_x", codes[9])
        assert not await here.auth.verify_backup_code("mfr_y", codes[8])


async def test_disabling_takes_a_proof() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        with pytest.raises(InvalidCredentialsError):
            await here.auth.disable_mfa("mfr_acme", "000000")
        assert await here.auth.mfa_enabled("mfr_acme")
        assert await here.auth.disable_mfa("mfr_acme", here.code(enrolment.secret))
        assert not await here.auth.mfa_enabled("mfr_acme")
        assert not await here.auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0])
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"
        assert here.mailbox.last(EMAIL).kind == "mfa_disabled"


async def test_an_enrolment_that_was_never_confirmed_can_be_removed_too() -> None:
    async with world() as here:
        enrolment = await here.auth.setup_mfa("mfr_acme")
        assert await here.auth.disable_mfa("mfr_acme", enrolment.backup_codes[0])
        assert not await here.auth.verify_mfa_token("mfr_acme", here.code(enrolment.secret))


async def test_where_policy_requires_mfa_it_cannot_be_turned_off() -> None:
    async with world(options=AccessOptions(argon2=CHEAP, mfa_required=True)) as here:
        enrolment = await here.enrolled()
        with pytest.raises(AuthorizationError) as caught:
            await here.auth.disable_mfa("mfr_acme", here.code(enrolment.secret))
        assert caught.value.code == "MFA_REQUIRED_BY_POLICY"


async def test_a_reset_by_staff_is_audited_and_told_and_never_below_two_factors() -> None:
    async with world() as here:
        await here.enrolled()
        session = (await here.auth.create_session({"manufacturer_id": "mfr_acme"})).session_id
        await here.auth.reset_mfa("mfr_acme", actor="staff@platform.example", reason="phone lost, call 4711")
        audited = next(e for e in here.sink.events if e.kind == "auth:mfa:reset")
        assert (audited.actor, audited.severity) == ("staff@platform.example", "high")
        assert here.mailbox.last(EMAIL).kind == "mfa_reset"
        assert not await here.auth.validate_session(session)
        challenge = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        assert (challenge.status, challenge.mfa_methods) == ("mfa_required", ["email_code"])
        code = here.mailbox.last(EMAIL, kind="sign_in_code").data["code"]
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge.challenge_id or "", "AAAA2222")
        done = await here.auth.complete_mfa(challenge.challenge_id or "", code)
        assert done.status == "authenticated"
        await here.enrolled()
        again = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        assert again.mfa_methods == ["totp", "backup_code"]


async def test_step_up_within_a_session() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        session = await here.auth.create_session({"manufacturer_id": "mfr_acme"})
        with pytest.raises(InvalidCredentialsError):
            await here.auth.step_up(session.session_id, "000000")
        await here.auth.step_up(session.session_id, here.code(enrolment.secret))
        await here.auth.require_recent_mfa(session.session_id, max_age=60)
        await here.auth.invalidate_session(session.session_id)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.step_up(session.session_id, enrolment.backup_codes[0])


async def test_the_store_holds_no_secret_and_no_code_in_clear() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        dump = "\n".join(await here.auth.store.engine.read(lambda c: list(c.iterdump())))  # type: ignore[attr-defined] # SQLite here
        assert enrolment.secret not in dump
        assert not any(code in dump for code in enrolment.backup_codes)
        assert PASSWORD not in dump
        assert enrolment.secret not in repr(enrolment)
        assert pyotp.TOTP(enrolment.secret).now() not in repr(here.sink.events)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(-2, 2), st.booleans()), min_size=1, max_size=25))
def test_accepted_steps_only_ever_rise(events: list[tuple[int, int, bool]]) -> None:
    """Whatever is presented when, by whichever path."""

    async def play() -> None:
        async with world() as here:
            enrolment = await here.enrolled()
            last = int(here.clock.timestamp()) // 30 - 1
            for seconds, offset, by_sign_in in events:
                here.clock.advance(seconds)
                step = int(here.clock.timestamp()) // 30 + offset
                code = here.code(enrolment.secret, steps=offset)
                try:
                    if by_sign_in:
                        done = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, code)
                        accepted = done.status == "authenticated"
                    else:
                        accepted = await here.auth.verify_mfa_token("mfr_acme", code)
                except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError):
                    accepted = False
                if accepted:
                    assert abs(offset) <= 1 and step > last
                    last = step

    asyncio.run(play())
