"""Registration: for library callers at once, for the public by mail."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import pytest

from gatewright.auth import check_business
from gatewright.errors import DuplicateAccountError, InvalidTokenError, ValidationError
from tests.auth.access import EMAIL, OWNER, PASSWORD, World, world


async def test_a_manufacturer_with_its_owner() -> None:
    async with world(register=False) as here:
        made = await here.auth.register_manufacturer({"email": EMAIL, "password": PASSWORD, "company_name": "Acme"})
        assert made.manufacturer_id.startswith("mfr_") and made.account_id.startswith("acc_")
        assert (made.tier, made.role, made.roles) == ("free", "owner", ["manufacturer_free"])
        assert (await here.auth.authenticate_manufacturer(EMAIL, PASSWORD)).status == "authenticated"


class OwnTier(Enum):
    """A caller's own enum."""

    BIG = "enterprise"


@pytest.mark.parametrize(("tier", "stored"), [("paid", "professional"), (OwnTier.BIG, "enterprise"), (None, "free")])
async def test_a_library_caller_may_set_the_tier(tier: object, stored: str) -> None:
    async with world(register=False) as here:
        assert (await here.auth.register_manufacturer({**OWNER, "tier": tier})).tier == stored


async def test_business_fields_are_checked_and_stored_encrypted() -> None:
    async with world(register=False) as here:
        business = {
            "tax_id": "12-3456789",
            "phone": "+1 212 555 2368",
            "website": "https://acme.example",
            "business_license": "AB-12345678",
            "favourite": {"colour": "teal"},
        }
        await here.auth.register_manufacturer({**OWNER, **business})
        stored = await here.auth.store.get_manufacturer("mfr_acme")
        assert stored is not None and stored.profile is not None
        assert "3456789" not in stored.profile and "teal" not in stored.profile
        opened = here.auth.services.registration._profiles.open_profile("mfr_acme", stored.profile)  # type: ignore[attr-defined] # built alone
        assert opened["favourite"] == {"colour": "teal"} and "3456789" in opened["tax_id"]


async def test_every_fields_error_is_told_at_once() -> None:
    async with world(register=False) as here:
        with pytest.raises(ValidationError) as caught:
            await here.auth.register_manufacturer(
                {
                    "email": "not an address",
                    "password": "short",
                    "company_name": "",
                    "tax_id": "nonsense",
                    "tier": "platinum",
                    "manufacturer_id": "with space",
                }
            )
        fields = {error.field for error in caught.value.errors}
        assert fields == {"email", "password", "company_name", "tax_id", "tier", "manufacturer_id"}
        assert caught.value.http_status == 422


async def test_required_fields() -> None:
    async with world(register=False) as here:
        with pytest.raises(ValidationError) as caught:
            await here.auth.register_manufacturer({})
        assert {"email", "password", "company_name"} <= {error.field for error in caught.value.errors}


@pytest.mark.parametrize(
    "change",
    [
        {"email": None},
        {"email": 7},
        {"email": ["a@b.example"]},
        {"email": "x" * 400 + "@a.example"},
        {"company_name": 9},
        {"company_name": "x" * 10_000},
        {"company_name": "\ud800"},
        {"email": "\ud800@a.example"},
        {"password": ["x"]},
        {"manufacturer_id": "platform"},
        {"manufacturer_id": "x" * 129},
        {"manufacturer_id": 5},
        {"tier": 3},
        {"notes": object()},
        {"notes": "x" * 20_000},
        {"tax_id": {"a": 1}},
    ],
)
async def test_any_data_may_be_given(change: dict[str, Any]) -> None:
    async with world(register=False) as here:
        with pytest.raises(ValidationError):
            await here.auth.register_manufacturer({**OWNER, **change})


@pytest.mark.parametrize("data", [None, [], "text", 5])
async def test_data_is_a_mapping(data: Any) -> None:
    async with world(register=False) as here:
        with pytest.raises(ValidationError):
            await here.auth.register_manufacturer(data)


@pytest.mark.parametrize("change", [{"manufacturer_id": "mfr_two"}, {"email": "other@acme.example"}])
async def test_a_known_address_or_id_is_a_duplicate(change: dict[str, str]) -> None:
    async with world() as here:
        with pytest.raises(DuplicateAccountError):
            await here.auth.register_manufacturer({**OWNER, "email": EMAIL.upper(), **change})


async def test_one_address_is_registered_once_however_many_try() -> None:
    async with world(register=False) as here:
        tries = (here.auth.register_manufacturer({**OWNER, "manufacturer_id": f"mfr_{n}"}) for n in range(12))
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(r, BaseException) for r in results) == 1
        assert all(isinstance(r, DuplicateAccountError) for r in results if isinstance(r, BaseException))


async def test_a_throw_away_domain_is_a_warning() -> None:
    async with world(register=False) as here:
        made = await here.auth.register_manufacturer({**OWNER, "email": "a@mailinator.com"})
        assert [w.error_type for w in made.warnings] == ["SUSPICIOUS_EMAIL_DOMAIN"]


# --- by mail --------------------------------------------------------------------------------------------------------

PUBLIC = {"email": "new@factory.example", "password": PASSWORD, "company_name": "Factory", "tax_id": "12-3456789"}


async def requested(here: World, data: dict[str, Any]) -> str:
    await here.auth.request_registration(data)
    return str(here.mailbox.last(kind="verify_email").data["token"])


async def test_the_mail_finishes_a_public_registration_on_the_default_tier() -> None:
    async with world() as here:
        token = await requested(here, {**PUBLIC, "tier": "enterprise", "manufacturer_id": "mfr_chosen"})
        assert await here.auth.store.find_account("new@factory.example") is None
        made = await here.auth.verify_registration(token)
        assert made.tier == "free" and made.manufacturer_id != "mfr_chosen"
        assert (await here.auth.authenticate_manufacturer("NEW@factory.example", PASSWORD)).status == "authenticated"
        with pytest.raises(InvalidTokenError):
            await here.auth.verify_registration(token)


async def test_known_and_new_addresses_are_answered_and_kept_alike() -> None:
    async with world() as here:
        known = await here.auth.request_registration({**PUBLIC, "email": EMAIL})  # type: ignore[func-returns-value] # that is the point
        new = await here.auth.request_registration(PUBLIC)  # type: ignore[func-returns-value] # as above
        assert known is None and new is None
        assert [(m.to, m.kind) for m in here.mailbox.messages] == [
            (EMAIL, "already_registered"),
            ("new@factory.example", "verify_email"),
        ]
        sql = "SELECT purpose, data FROM one_time_secrets"
        rows = await here.auth.store.engine.read(lambda c: c.execute(sql).fetchall())  # type: ignore[attr-defined] # SQLite here
        assert len(rows) == 2
        assert not any("Factory" in data or "3456789" in data or "argon2" in data for _, data in rows)


async def test_field_errors_answer_at_once() -> None:
    async with world() as here:
        with pytest.raises(ValidationError):
            await here.auth.request_registration({**PUBLIC, "password": "short"})
        assert here.mailbox.messages == []


async def test_the_mail_is_enough_to_go_on_with() -> None:
    async with world(strict_tenants=True, register=False) as here:
        token = await requested(here, PUBLIC)
        body = here.mailbox.last(kind="verify_email").body
        assert f'POST http://localhost:8000/v1/manufacturers/verify\n    {{"token": "{token}"}}' in body
        assert "/account/" not in body


async def test_business_data_is_checked_beside_the_loop() -> None:
    findings = await check_business({"company_name": "Acme", "email": "not an address"})
    assert [e.field for e in findings.errors] == ["email"]


async def test_of_two_registrations_of_one_address_the_first_proven_wins() -> None:
    async with world() as here:
        first, second = await requested(here, PUBLIC), await requested(here, {**PUBLIC, "company_name": "Impostor"})
        await here.auth.verify_registration(first)
        with pytest.raises(InvalidTokenError):
            await here.auth.verify_registration(second)


@pytest.mark.parametrize("token", ["", None, "x", "x" * 5_000])
async def test_any_token_may_be_presented(token: str) -> None:
    async with world() as here:
        with pytest.raises(InvalidTokenError):
            await here.auth.verify_registration(token)


async def test_a_token_expires_after_a_day() -> None:
    async with world() as here:
        token = await requested(here, PUBLIC)
        here.clock.advance(hours=24, seconds=1)
        with pytest.raises(InvalidTokenError):
            await here.auth.verify_registration(token)


async def test_an_address_is_not_flooded() -> None:
    async with world() as here:
        for _ in range(9):
            await here.auth.request_registration(PUBLIC)
        assert len(here.mailbox.messages) == 5
