"""The password policy: length, lists, context, patterns; no rules of composition."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gatewright.auth import (
    AccessOptions,
    PasswordHashing,
    PasswordPolicy,
    is_built_from,
    is_common,
    is_sequence,
    minimum_length,
)
from gatewright.errors import ValidationError
from tests.auth.access import CHEAP, OWNER, world

WORDS = ("info@acme-tools.example", "Acme Tools Ltd")


@pytest.fixture
def policy() -> PasswordPolicy:
    return PasswordPolicy(PasswordHashing(CHEAP), min_length=12)


@pytest.mark.parametrize(
    ("password", "error_type"),
    [
        (None, "PASSWORD_MISSING"),
        ("", "PASSWORD_MISSING"),
        (12345678901234, "PASSWORD_MISSING"),
        ("elevenchars", "PASSWORD_TOO_SHORT"),
        ("x" * 257, "PASSWORD_TOO_LONG"),
        ("aaaaaaaaaaaaaa", "PASSWORD_PATTERN"),
        ("abcabcabcabcabc", "PASSWORD_PATTERN"),
        ("123456789012", "PASSWORD_PATTERN"),
        ("passwordPassword", "PASSWORD_PATTERN"),
        ("iloveyou1iloveyou1", "PASSWORD_PATTERN"),
        ("zyxwvutsrqponm", "PASSWORD_PATTERN"),
        ("qwertyuiop12", "PASSWORD_COMMON"),
        ("Password1234!", "PASSWORD_COMMON"),
        ("P@ssw0rd2024", "PASSWORD_COMMON"),
        ("administration", "PASSWORD_COMMON"),
        ("AcmeTools2026!", "PASSWORD_CONTEXT"),
        ("4cm3t00ls-2026", "PASSWORD_CONTEXT"),
        ("info.acme-tools", "PASSWORD_CONTEXT"),
    ],
)
async def test_refused_with_its_reason(policy: PasswordPolicy, password: object, error_type: str) -> None:
    (error,) = await policy.check(password, words=WORDS)
    assert (error.field, error.error_type) == ("password", error_type)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "SecurePassword123!",
        "acme runs on strong coffee",
        "        x        ",
        "пароль-который-длинный",
        "🦦🦦🦊🦊🐙🐙🦦🦊🐙🦊🦊🐙",
        "lowercaseonlybutfine",
        "x" * 5 + "q7Lm" * 3 + "z" * 239,
    ],
)
async def test_accepted_whatever_it_is_made_of(policy: PasswordPolicy, password: str) -> None:
    assert await policy.check(password, words=WORDS) == []


async def test_the_error_says_what_would_be_strong(policy: PasswordPolicy) -> None:
    (error,) = await policy.check("short")
    assert "12 characters" in error.message and "unrelated words" in error.message


async def test_length_counts_characters_as_they_are_after_normalisation(policy: PasswordPolicy) -> None:
    composed = "e\u0301" * 11  # 22 code points, 11 characters
    (error,) = await policy.check(composed)
    assert error.error_type == "PASSWORD_TOO_SHORT"


@pytest.mark.parametrize(
    ("setting", "mfa", "alone", "length"),
    [(None, True, False, 8), (None, False, False, 15), (None, False, True, 12), (10, False, False, 10)],
)
def test_the_minimum_length(setting: int | None, mfa: bool, alone: bool, length: int) -> None:
    assert minimum_length(setting, mfa_required=mfa, alone=alone) == length


async def test_the_breach_check_is_asked_last() -> None:
    asked = []

    async def breached(password: str) -> bool:
        asked.append(password)
        return password.startswith("leaked")

    policy = PasswordPolicy(PasswordHashing(CHEAP), min_length=8, breached=breached)
    assert [e.error_type for e in await policy.check("leaked-otter-marmalade")] == ["PASSWORD_BREACHED"]
    assert await policy.check("unheard-otter-marmalade") == []
    assert await policy.check("short") != []
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("joe@lens.example", ("joe@lens.example", "Lens Ltd")),
        ("JOE@Lens.Example", ("joe@lens.example",)),
        ("joelensexample", ("joe@lens.example",)),
        ("joe.lens.ex1!!", ("joe@lens.ex",)),
        ("ann@bbc.co.uk", ("ann@bbc.co.uk",)),
        ("suneyelab123", ("a@b.example", "Sun Eye Lab")),
        ("Sun-Eye-Lab-2026!", ("Sun Eye Lab",)),
        ("2026_SunEyeLab", ("Sun Eye Lab",)),
        ("5un3y3l4b-123", ("Sun Eye Lab",)),
        ("baleyenus2026", ("Sun Eye Lab",)),
        ("labeyesun123", ("Sun Eye Lab",)),
        ("S.E.L.-2026!", ("Sun Eye Lab",)),
        ("selselsel123", ("Sun Eye Lab",)),
        ("müllerglas2026", ("Müller Glas",)),
        ("muller-glas-1", ("Müller Glas",)),
        ("Mueller-Glas1", ("Müller Glas",)),
        ("société-zoé-1", ("Societe Zoe",)),
        ("3mco-3mco-3mco", ("3M Co",)),
    ],
)
async def test_short_words_of_the_address_or_company_make_no_password(
    policy: PasswordPolicy, password: str, words: tuple[str, ...]
) -> None:
    assert [error.error_type for error in await policy.check(password, words=words)] == ["PASSWORD_CONTEXT"]


@pytest.mark.parametrize(
    "password",
    [
        "the sun rises over quiet harbors",
        "lab-rabbit-umbrella-42",
        "eye of the purple hurricane",
        "7391-8842-lab-55301",
        "xk9sun-qv27-tdw",
        "seldom-marching-otters",
        "lens cap on a wooden shelf",
    ],
)
async def test_a_phrase_that_only_contains_a_short_word_is_accepted(policy: PasswordPolicy, password: str) -> None:
    assert await policy.check(password, words=("joe@lens.example", "Sun Eye Lab")) == []


async def test_the_own_address_is_no_password_on_any_path() -> None:
    async with world(register=False) as here:
        data = {**OWNER, "email": "joe@lens.example", "company_name": "Sun Eye Lab"}
        for password in ("joe@lens.example", "suneyelab123"):
            with pytest.raises(ValidationError) as caught:
                await here.auth.register_manufacturer({**data, "password": password})
            assert [e.error_type for e in caught.value.errors] == ["PASSWORD_CONTEXT"]
        await here.auth.register_manufacturer(data)
        with pytest.raises(ValidationError) as caught:
            await here.auth.change_password("mfr_acme", OWNER["password"], "joe@lens.example")
        assert caught.value.code == "PASSWORD_CONTEXT"


@given(st.text(max_size=300))
def test_the_rules_take_any_text(text: str) -> None:
    assert is_common(text) in (True, False)
    assert is_built_from(text, WORDS) in (True, False)
    if text:
        assert is_sequence(text) in (True, False)


@given(st.text(alphabet="bdfhkqxz", min_size=8, max_size=20))
def test_enough_own_letters_are_no_context(own: str) -> None:
    assert not is_built_from(f"acme{own}", WORDS)
    assert is_built_from("acme2026!!", WORDS)


@pytest.mark.parametrize("length", [12, 15])
async def test_registration_holds_the_length_of_its_kind(length: int) -> None:
    async with world(register=False, strict_tenants=length == 15) as here:
        with pytest.raises(ValidationError) as caught:
            await here.auth.register_manufacturer({**OWNER, "password": "Xylophone-river-42"[: length - 1]})
        assert [(e.field, e.error_type) for e in caught.value.errors] == [("password", "PASSWORD_TOO_SHORT")]
        await here.auth.register_manufacturer({**OWNER, "password": "Xylophone-river-42"[:length]})


async def test_eight_are_enough_where_mfa_is_required() -> None:
    async with world(register=False, strict_tenants=True, options=AccessOptions(argon2=CHEAP, mfa_required=True)) as w:
        assert await w.auth.register_manufacturer({**OWNER, "password": "xyl-rv42"})
