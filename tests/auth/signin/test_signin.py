"""Sign-in with a password: what the answer reveals, what it does not, and what follows."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gatewright.auth import AccessOptions, Argon2Parameters, ClientInfo
from gatewright.controls import Measure
from gatewright.errors import (
    AccountLockedError,
    AuthenticationError,
    InvalidCredentialsError,
    MFARequiredError,
    RateLimitExceededError,
    StoreUnavailableError,
)
from tests.auth.access import EMAIL, OWNER, PASSWORD, World, world
from tests.auth.identity import ELSEWHERE, HOME, NEIGHBOUR, SAFARI, START


async def test_the_right_password_signs_in() -> None:
    async with world() as here:
        done = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=HOME)
        assert done.status == "authenticated" and not done.mfa_required
        claims = await here.auth.validate_token(done.access_token or "")
        assert (claims["manufacturer_id"], claims["sid"]) == ("mfr_acme", done.session_id)
        assert done.manufacturer is not None and done.manufacturer.company_name == "Acme Tools"
        assert done.refresh_token is not None
        assert (await here.auth.refresh_tokens(done.refresh_token, client=HOME)).session_id == done.session_id


@pytest.mark.parametrize("email", ["OWNER@ACME.EXAMPLE", " owner@acme.example ", "Owner@Acme.Example"])
async def test_addresses_compare_without_case(email: str) -> None:
    async with world() as here:
        assert (await here.auth.authenticate_manufacturer(email, PASSWORD)).status == "authenticated"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "wrong"),
        ("nobody@acme.example", PASSWORD),
        ("", ""),
        ("x" * 10_000, PASSWORD),
        (EMAIL, "x" * 10_000),
        (EMAIL, PASSWORD + " "),
        (EMAIL, PASSWORD.lower()),
        (None, None),
        (EMAIL, 7),
        ("owner@acme.example\x00", PASSWORD),
        ("'; DROP TABLE accounts; --", PASSWORD),
        ("\ud800@acme.example", "\udfff"),
    ],
)
async def test_everything_else_is_refused_in_the_same_words(email: str, password: str) -> None:
    async with world() as here:
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.authenticate_manufacturer(email, password)
        assert (caught.value.message, caught.value.code, caught.value.context) == (
            "Incorrect email or password.",
            "INVALID_CREDENTIALS",
            {},
        )


async def test_unknown_and_wrong_are_slowed_and_locked_alike() -> None:
    async with world() as here:

        async def outcomes(email: str) -> list[tuple[str, str, float]]:
            seen = []
            for _ in range(14):
                with pytest.raises((AuthenticationError, RateLimitExceededError)) as caught:
                    await here.auth.authenticate_manufacturer(email, "wrong")
                seen.append((caught.value.code, caught.value.message, getattr(caught.value, "retry_after", 0.0)))
            return seen

        assert await outcomes(EMAIL) == await outcomes("nobody@acme.example")


async def test_a_password_typed_in_another_form_of_unicode_is_the_same() -> None:
    async with world(register=False) as here:
        await here.auth.register_manufacturer({**OWNER, "password": "caf\u00e9-riviera-\u2460-lantern"})
        same = "cafe\u0301-riviera-1-lantern"
        assert (await here.auth.authenticate_manufacturer(EMAIL, same)).status == "authenticated"


async def test_disabled_accounts_and_manufacturers_answer_like_wrong_passwords() -> None:
    async with world() as here:
        account = await here.auth.store.find_account(EMAIL)
        assert account is not None
        await here.auth.store.update_account(account.account_id, status="disabled")
        with pytest.raises(InvalidCredentialsError):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        await here.auth.store.update_account(account.account_id, status="active")
        await here.auth.store.update_manufacturer("mfr_acme", status="disabled")
        with pytest.raises(InvalidCredentialsError):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)


async def test_the_hash_moves_to_new_parameters_at_sign_in() -> None:
    async with world() as here:
        newer = Argon2Parameters(time_cost=2, memory_kib=16)
        here.auth.services.hashing._hasher = here.auth.services.hashing.__class__(newer)._hasher
        before = await here.auth.store.find_account(EMAIL)
        await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        after = await here.auth.store.find_account(EMAIL)
        assert before is not None and after is not None
        assert "m=8,t=1" in (before.password_hash or "") and "m=16,t=2" in (after.password_hash or "")
        assert after.last_login_at == START
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"


async def test_fifty_at_once_all_get_in_and_a_full_queue_answers_busy() -> None:
    async with world() as here:
        results = await asyncio.gather(*(here.auth.authenticate_manufacturer(EMAIL, PASSWORD) for _ in range(50)))
        assert all(result.status == "authenticated" for result in results)
    options = AccessOptions(argon2=Argon2Parameters(), hashing_queue_limit=2, hashing_threads=1)
    async with world(options=options) as here:
        results = await asyncio.gather(
            *(here.auth.authenticate_manufacturer(f"n{n}@x.example", PASSWORD) for n in range(20)),
            return_exceptions=True,
        )
        busy = [r for r in results if isinstance(r, StoreUnavailableError)]
        assert busy and all(error.code == "HASHING_BUSY" and error.http_status == 503 for error in busy)
        for _ in range(12):  # those that were never checked are not counted
            with pytest.raises(InvalidCredentialsError):
                await here.auth.authenticate_manufacturer(f"m{_}@x.example", "wrong")


# --- the second step ------------------------------------------------------------------------------------------------


async def challenged(here: World, client: ClientInfo | None = HOME) -> str:
    result = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, client=client)
    assert result.status == "mfa_required" and result.mfa_required
    assert result.access_token is None and result.refresh_token is None and result.session_id is None
    assert result.challenge_id is not None
    return result.challenge_id


async def test_a_code_completes_the_sign_in_and_the_challenge_is_spent() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        challenge = await challenged(here)
        done = await here.auth.complete_mfa(challenge, here.code(enrolment.secret), client=HOME)
        assert done.status == "authenticated"
        session = await here.auth.get_session_info(done.session_id or "")
        assert session is not None and session.mfa_at == here.clock.now()
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.complete_mfa(challenge, enrolment.backup_codes[0], client=HOME)
        assert caught.value.code == "INVALID_CHALLENGE"
        assert await here.auth.verify_backup_code("mfr_acme", enrolment.backup_codes[0]), "not spent on nothing"


async def test_a_wrong_code_leaves_the_challenge_open() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        challenge = await challenged(here)
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.complete_mfa(challenge, "ZZZZ2222", client=HOME)
        assert caught.value.code == "INVALID_MFA_CODE"
        assert (await here.auth.complete_mfa(challenge, enrolment.backup_codes[1], client=HOME)).session_id


@pytest.mark.parametrize("other", [ELSEWHERE, ClientInfo(HOME.ip_address, SAFARI), None])
async def test_a_challenge_belongs_to_its_client(other: ClientInfo | None) -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        challenge = await challenged(here)
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.complete_mfa(challenge, here.code(enrolment.secret), client=other)
        assert caught.value.code == "INVALID_CHALLENGE"
        assert (await here.auth.complete_mfa(challenge, here.code(enrolment.secret), client=NEIGHBOUR)).session_id


async def test_a_challenge_expires() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        challenge = await challenged(here)
        here.clock.advance(601)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge, here.code(enrolment.secret), client=HOME)


@pytest.mark.parametrize("challenge", ["", "x", None, 5, "x" * 1_000, "' OR 1=1 --"])
async def test_any_challenge_may_be_presented(challenge: str) -> None:
    async with world() as here:
        await here.enrolled()
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge, "123456", client=HOME)


async def test_code_and_password_in_one_call() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, "ZZZZ2222")
        assert caught.value.code == "INVALID_MFA_CODE"
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.authenticate_manufacturer(EMAIL, "wrong", here.code(enrolment.secret))
        assert caught.value.code == "INVALID_CREDENTIALS"
        done = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, here.code(enrolment.secret))
        assert done.status == "authenticated"
        here.clock.advance(30)
        done = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD, enrolment.backup_codes[0].lower())
        assert done.status == "authenticated"


async def test_a_disabled_account_cannot_finish_what_it_began() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        challenge = await challenged(here)
        await here.auth.store.update_manufacturer("mfr_acme", status="disabled")
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(challenge, here.code(enrolment.secret), client=HOME)


async def test_a_measure_asks_those_without_a_factor_for_a_mailed_code() -> None:
    async with world() as here:
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"
        here.controls.apply(
            Measure(measure_id="m1", kind="require_mfa", scope="manufacturer:mfr_acme", created_at=here.clock.now())
        )
        result = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        assert (result.status, result.mfa_methods) == ("mfa_required", ["email_code"])
        code = here.mailbox.last(EMAIL, kind="sign_in_code").data["code"]
        assert (await here.auth.complete_mfa(result.challenge_id or "", code)).status == "authenticated"
        for _ in range(4):
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        with pytest.raises(MFARequiredError) as caught:
            await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        assert caught.value.code == "MFA_MAIL_LIMIT"


async def test_a_mailed_code_is_worth_nothing_once_a_factor_is_enrolled() -> None:
    async with world() as here:
        await here.auth.reset_mfa("mfr_acme", actor="staff", reason="phone lost")
        result = await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)
        code = here.mailbox.last(EMAIL, kind="sign_in_code").data["code"]
        enrolment = await here.enrolled()
        with pytest.raises(InvalidCredentialsError):
            await here.auth.complete_mfa(result.challenge_id or "", code)
        assert (await here.auth.complete_mfa(result.challenge_id or "", here.code(enrolment.secret))).session_id


async def test_wrong_codes_at_sign_in_lock_the_codes_not_the_password() -> None:
    async with world() as here:
        enrolment = await here.enrolled()
        kinds = []
        for number in range(25):
            try:
                await here.auth.complete_mfa(await challenged(here), f"ZZZZ2{number:03d}", client=HOME)
            except (InvalidCredentialsError, RateLimitExceededError, AccountLockedError) as error:
                kinds.append(type(error).__name__)
        assert kinds.count("InvalidCredentialsError") <= 10
        assert kinds[-1] == "AccountLockedError"
        with pytest.raises(AccountLockedError):
            await here.auth.complete_mfa(await challenged(here), enrolment.backup_codes[0], client=HOME)


def test_results_do_not_show_tokens() -> None:
    from gatewright.auth import AuthResult

    result = AuthResult(status="authenticated", access_token="aaa", refresh_token="bbb", device_token="ccc")
    assert not any(secret in repr(result) for secret in ("aaa", "bbb", "ccc"))
    assert msgspec.structs.asdict(result)["access_token"] == "aaa"
