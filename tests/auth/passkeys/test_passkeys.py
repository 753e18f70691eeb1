"""Passkeys: registration, sign-in with user verification, counters, and everything that must not pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatewright.auth import AccessOptions, PasskeyChallenge, RelyingParty
from gatewright.errors import ConfigurationError, InvalidCredentialsError, ValidationError
from tests.auth.access import CHEAP, EMAIL, PASSWORD, World, world
from tests.auth.authenticator import SoftAuthenticator, encode
from tests.auth.identity import ELSEWHERE, HOME


async def register(here: World, key: SoftAuthenticator | None = None, *, name: str = "Laptop") -> SoftAuthenticator:
    key = key or SoftAuthenticator()
    begun = await here.auth.begin_passkey_registration("mfr_acme")
    await here.auth.finish_passkey_registration(begun.challenge_id, key.create(begun.options), name=name)
    return key


async def login(here: World, answer: Callable[[PasskeyChallenge], dict[str, Any]], email: str | None = None) -> str:
    begun = await here.auth.begin_passkey_login(email, client=HOME)
    done = await here.auth.finish_passkey_login(begun.challenge_id, answer(begun), client=HOME)
    return done.session_id or ""


async def test_register_sign_in_list_remove() -> None:
    async with world() as here:
        first = await register(here)
        here.clock.advance(1)
        second = await register(here, name="Phone")
        assert [p.name for p in await here.auth.list_passkeys("mfr_acme")] == ["Laptop", "Phone"]
        assert await login(here, lambda begun: first.get(begun.options))
        assert await login(here, lambda begun: second.get(begun.options), EMAIL.upper())
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).mfa_methods == ["passkey"]
        for passkey in await here.auth.list_passkeys("mfr_acme"):
            assert passkey.last_used_at == here.clock.now()
            assert await here.auth.remove_passkey("mfr_acme", passkey.passkey_id)
            assert not await here.auth.remove_passkey("mfr_acme", passkey.passkey_id)
        with pytest.raises(InvalidCredentialsError):
            await login(here, lambda begun: first.get(begun.options))
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"


async def test_options_ask_for_user_verification_and_tell_nothing_of_who_is_known() -> None:
    async with world() as here:
        await register(here)
        begun = await here.auth.begin_passkey_registration("mfr_acme")
        assert begun.options["authenticatorSelection"]["userVerification"] == "required"
        assert len(begun.options["excludeCredentials"]) == 1
        known = await here.auth.begin_passkey_login(EMAIL)
        unknown = await here.auth.begin_passkey_login("nobody@acme.example")
        assert known.options["userVerification"] == "required"
        strip = {"challenge": ""}
        assert {**known.options, **strip} == {**unknown.options, **strip}
        assert known.options["allowCredentials"] == []


async def test_a_challenge_is_good_for_one_answer() -> None:
    async with world() as here:
        key = await register(here)
        begun = await here.auth.begin_passkey_login(client=HOME)
        answer = key.get(begun.options)
        await here.auth.finish_passkey_login(begun.challenge_id, answer, client=HOME)
        for again in (answer, key.get(begun.options)):
            with pytest.raises(InvalidCredentialsError) as caught:
                await here.auth.finish_passkey_login(begun.challenge_id, again, client=HOME)
            assert caught.value.code == "INVALID_PASSKEY"


def unverified(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    key.verify_user = False
    return key.get(begun.options)


def other_origin(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    key.origin = "http://localhost:8000.evil.example"
    return key.get(begun.options)


def other_party(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    return key.get({**begun.options, "rpId": "evil.example"})


def other_challenge(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    return key.get({**begun.options, "challenge": encode(bytes(32))})


def forged(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    thief = SoftAuthenticator()
    thief.credential_id = key.credential_id
    return thief.get(begun.options)


def cloned(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    return key.get(begun.options, count=3)


def counter_gone(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    return key.get(begun.options, count=0)


def other_user(key: SoftAuthenticator, begun: PasskeyChallenge) -> dict[str, Any]:
    key.user_handle = encode(bytes(32))
    return key.get(begun.options)


@pytest.mark.parametrize(
    "answer", [other_user, unverified, other_origin, other_party, other_challenge, forged, cloned, counter_gone]
)
async def test_what_does_not_agree_is_refused(answer: Callable[..., dict[str, Any]]) -> None:
    async with world() as here:
        key = await register(here)
        key.count = 4
        await login(here, lambda begun: key.get(begun.options))
        with pytest.raises(InvalidCredentialsError):
            await login(here, lambda begun: answer(key, begun))
        kinds = here.sink.kinds()
        assert ("auth:passkey:cloned" in kinds) is (answer in (cloned, counter_gone))
        assert kinds[-1] == "auth:login:failed"
        assert await here.auth.list_sessions("mfr_acme") != []


async def test_an_authenticator_that_never_counts_is_accepted() -> None:
    async with world() as here:
        key = await register(here)
        for _ in range(3):
            assert await login(here, lambda begun: key.get(begun.options, count=0))


async def test_another_client_and_another_address_are_refused() -> None:
    async with world() as here:
        key = await register(here)
        begun = await here.auth.begin_passkey_login(client=HOME)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.finish_passkey_login(begun.challenge_id, key.get(begun.options), client=ELSEWHERE)
        with pytest.raises(InvalidCredentialsError):
            await login(here, lambda begun: key.get(begun.options), "somebody@else.example")


@pytest.mark.parametrize(
    "assertion",
    [
        {},
        {"id": ""},
        {"id": "!!!"},
        {"id": 5},
        {"id": "A" * 5_000},
        {"id": "AAAA", "response": None},
        {"id": "AAAA", "response": {"clientDataJSON": "x" * 70_000}},
        {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {"clientDataJSON": [], "signature": 1}},
        None,
        [],
        "text",
    ],
)
async def test_any_assertion_may_be_presented(assertion: Any) -> None:
    async with world() as here:
        await register(here)
        begun = await here.auth.begin_passkey_login()
        with pytest.raises(InvalidCredentialsError):
            await here.auth.finish_passkey_login(begun.challenge_id, assertion)


async def test_mangled_parts_of_a_real_assertion_are_refused() -> None:
    async with world() as here:
        key = await register(here)
        for part in ("clientDataJSON", "authenticatorData", "signature"):
            for mangle in (lambda v: v[:-4], lambda v: v + "AAAA", lambda v: "", lambda v: "#", lambda v: None):
                begun = await here.auth.begin_passkey_login(client=HOME)
                answer = key.get(begun.options)
                answer["response"][part] = mangle(answer["response"][part])
                with pytest.raises(InvalidCredentialsError):
                    await here.auth.finish_passkey_login(begun.challenge_id, answer, client=HOME)


async def test_registration_is_bound_to_account_challenge_and_verification() -> None:
    async with world() as here:
        begun = await here.auth.begin_passkey_registration("mfr_acme")
        key = SoftAuthenticator()
        key.verify_user = False
        with pytest.raises(InvalidCredentialsError):
            await here.auth.finish_passkey_registration(begun.challenge_id, key.create(begun.options))
        with pytest.raises(InvalidCredentialsError):
            await here.auth.finish_passkey_registration(begun.challenge_id, SoftAuthenticator().create(begun.options))
        begun = await here.auth.begin_passkey_registration("mfr_acme")
        with pytest.raises(InvalidCredentialsError):
            await here.auth.finish_passkey_registration(
                begun.challenge_id, SoftAuthenticator().create(begun.options), account_id="acc_other"
            )
        for credential in ({}, {"id": "AA", "response": {}}, {"id": "AA", "response": {"attestationObject": "oA"}}):
            begun = await here.auth.begin_passkey_registration("mfr_acme")
            with pytest.raises(InvalidCredentialsError):
                await here.auth.finish_passkey_registration(begun.challenge_id, credential)
        assert await here.auth.list_passkeys("mfr_acme") == []


async def test_one_credential_is_registered_once_and_an_account_has_at_most_twenty() -> None:
    async with world() as here:
        key = await register(here)
        with pytest.raises(InvalidCredentialsError):
            await register(here, key)
        for _ in range(19):
            await register(here)
        with pytest.raises(ValidationError) as caught:
            await register(here)
        assert caught.value.code == "TOO_MANY_PASSKEYS"


async def test_a_passkey_proves_enough_to_remove_the_app() -> None:
    async with world() as here:
        key = await register(here)
        await here.enrolled()
        begun = await here.auth.begin_passkey_login()
        proof = {"challenge_id": begun.challenge_id, "assertion": key.get(begun.options)}
        assert await here.auth.disable_mfa("mfr_acme", proof)
        with pytest.raises(InvalidCredentialsError):
            await here.auth.disable_mfa("mfr_acme", proof)


async def test_a_disabled_person_cannot_use_a_passkey() -> None:
    async with world() as here:
        key = await register(here)
        await here.auth.store.update_manufacturer("mfr_acme", status="disabled")
        with pytest.raises(InvalidCredentialsError):
            await login(here, lambda begun: key.get(begun.options))


def test_the_relying_party_follows_the_public_address() -> None:
    party = RelyingParty.at("https://gate.example:8443", name="G")
    assert (party.rp_id, party.origins) == ("gate.example", ("https://gate.example:8443",))
    assert not party.local
    local = RelyingParty.at("http://127.0.0.1:8000", name="G")
    assert (local.rp_id, local.local) == ("localhost", True)
    assert RelyingParty.at("https://a.gate.example", name="G", rp_id="gate.example").rp_id == "gate.example"
    for wrong in ("gate.example", "ftp://gate.example"):
        with pytest.raises(ConfigurationError, match="PUBLIC_URL"):
            RelyingParty.at(wrong, name="G")


@pytest.mark.parametrize(
    ("origin", "public_url", "accepted"),
    [
        ("http://localhost:9123", "http://127.0.0.1:8000", True),
        ("http://localhost", "http://localhost:8000", True),
        ("http://localhost.evil.example:8000", "http://localhost:8000", False),
        ("https://localhost:8000", "http://localhost:8000", False),
        ("http://localhost:8000", "https://localhost", False),
    ],
)
async def test_on_ones_own_machine_any_port_will_do(origin: str, public_url: str, accepted: bool) -> None:
    async with world(options=AccessOptions(argon2=CHEAP, public_url=public_url)) as here:
        key = SoftAuthenticator(origin=origin)
        begun = await here.auth.begin_passkey_registration("mfr_acme")
        if accepted:
            assert await here.auth.finish_passkey_registration(begun.challenge_id, key.create(begun.options))
            assert await login(here, lambda begun: key.get(begun.options))
        else:
            with pytest.raises(InvalidCredentialsError):
                await here.auth.finish_passkey_registration(begun.challenge_id, key.create(begun.options))
