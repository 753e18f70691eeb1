"""API keys: format, ceiling, expiry, rotation with overlap, revocation."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from enum import Enum

import pytest
from hypothesis import given, strategies as st

from gatewright.auth import checksum, split_key
from gatewright.errors import AuthorizationError, InsufficientPermissionsError, InvalidCredentialsError, ValidationError
from gatewright.storage import StoredAccount
from tests.auth.access import EMAIL, World, world


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as opened:
        yield opened


class Permission(Enum):
    """A caller's own enum."""

    EXPORT = "export_data"


async def test_a_key_is_shown_once_and_has_its_format(here: World) -> None:
    made = await here.auth.create_api_key("mfr_acme", "Nightly export", permissions=[Permission.EXPORT, "api_access"])
    assert made.key is not None
    assert re.fullmatch(r"gw_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}", made.key)
    assert made.key.split("_")[1] == made.key_id
    assert made.key not in repr(made)
    (listed,) = await here.auth.list_api_keys("mfr_acme")
    assert listed.key is None and listed.permissions == ["api_access", "export_data"]
    dump = "\n".join(await here.auth.store.engine.read(lambda c: list(c.iterdump())))  # type: ignore[attr-defined] # SQLite here
    assert made.key.split("_")[2] not in dump and made.key[-46:-6] not in dump
    assert made.key not in repr(here.sink.events)


async def test_it_tells_whose_it_is_and_when_it_was_used(here: World) -> None:
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
    known = await here.auth.verify_api_key(made.key or "")
    assert (known.manufacturer_id, known.company_name, known.email, known.tier) == (
        "mfr_acme",
        "Acme Tools",
        EMAIL,
        "professional",
    )
    assert known.permissions == ["api_access"]
    assert (await here.auth.list_api_keys("mfr_acme"))[0].last_used_at == here.clock.now()
    here.clock.advance(30)
    await here.auth.verify_api_key(made.key or "")
    here.clock.advance(31)
    await here.auth.verify_api_key(made.key or "")
    assert (await here.auth.list_api_keys("mfr_acme"))[0].last_used_at == here.clock.now()


async def test_no_wider_than_its_owner_when_made_and_when_used(here: World) -> None:
    with pytest.raises(InsufficientPermissionsError) as caught:
        await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access", "white_label_access"])
    assert caught.value.permission == "white_label_access"
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access", "upload_products"])
    await here.auth.store.update_manufacturer("mfr_acme", tier="free")
    assert (await here.auth.verify_api_key(made.key or "")).permissions == ["upload_products"]


async def test_a_members_key_is_cut_by_the_members_role(here: World) -> None:
    member = StoredAccount(
        account_id="acc_viewer",
        manufacturer_id="mfr_acme",
        email="v@acme.example",
        email_key="v@acme.example",
        role="viewer",
        created_at=here.clock.now(),
        updated_at=here.clock.now(),
    )
    await here.auth.store.add_account(member)
    with pytest.raises(InsufficientPermissionsError):
        await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"], account_id="acc_viewer")
    assert await here.auth.create_api_key(
        "mfr_acme", "ci", permissions=["view_basic_analytics"], account_id="acc_viewer"
    )


async def test_it_expires(here: World) -> None:
    ends = here.clock.now() + timedelta(hours=1)
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"], expires_at=ends)
    await here.auth.verify_api_key(made.key or "")
    here.clock.advance(3_600)
    with pytest.raises(InvalidCredentialsError):
        await here.auth.verify_api_key(made.key or "")


async def test_it_is_revoked_at_once_though_it_was_remembered(here: World) -> None:
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
    await here.auth.verify_api_key(made.key or "")
    assert not await here.auth.revoke_api_key(made.key_id, manufacturer_id="mfr_other")
    assert await here.auth.revoke_api_key(made.key_id, manufacturer_id="mfr_acme")
    assert not await here.auth.revoke_api_key(made.key_id)
    with pytest.raises(InvalidCredentialsError):
        await here.auth.verify_api_key(made.key or "")
    assert (await here.auth.list_api_keys("mfr_acme"))[0].revoked_at is not None


async def test_it_dies_with_its_owner(here: World) -> None:
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
    await here.auth.verify_api_key(made.key or "")
    await here.auth.store.update_manufacturer("mfr_acme", status="disabled")
    with pytest.raises(InvalidCredentialsError):
        await here.auth.verify_api_key(made.key or "")
    await here.auth.store.update_manufacturer("mfr_acme", status="active")
    owner = await here.auth.store.owner_of("mfr_acme")
    assert owner is not None
    await here.auth.store.update_account(owner.account_id, status="disabled")
    with pytest.raises(InvalidCredentialsError):
        await here.auth.verify_api_key(made.key or "")


async def test_rotation_overlaps(here: World) -> None:
    old = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
    await here.auth.verify_api_key(old.key or "")
    new = await here.auth.rotate_api_key("mfr_acme", old.key_id, overlap=timedelta(hours=2))
    assert (new.name, new.permissions) == ("ci", ["api_access"])
    for key in (old, new):
        await here.auth.verify_api_key(key.key or "")
    here.clock.advance(hours=2)
    with pytest.raises(InvalidCredentialsError):
        await here.auth.verify_api_key(old.key or "")
    await here.auth.verify_api_key(new.key or "")


async def test_what_cannot_be_rotated(here: World) -> None:
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
    await here.auth.rotate_api_key("mfr_acme", made.key_id)
    for manufacturer_id, key_id in (("mfr_acme", made.key_id), ("mfr_other", made.key_id), ("mfr_acme", "x" * 16)):
        with pytest.raises(AuthorizationError):
            await here.auth.rotate_api_key(manufacturer_id, key_id)
    with pytest.raises(ValidationError):
        await here.auth.rotate_api_key("mfr_acme", made.key_id, overlap=timedelta(days=91))


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "two\nlines"},
        {"name": None},
        {"permissions": []},
        {"permissions": "api_access"},
        {"permissions": ["fly"]},
        {"permissions": [f"p{n}" for n in range(65)]},
        {"expires_at": "tomorrow"},
    ],
)
async def test_arguments_are_bounded(here: World, arguments: dict[str, object]) -> None:
    given_ = {"name": "ci", "permissions": ["api_access"], **arguments}
    with pytest.raises(ValidationError):
        await here.auth.create_api_key("mfr_acme", **given_)  # type: ignore[arg-type] # any caller


async def test_an_end_in_the_past_is_refused(here: World) -> None:
    with pytest.raises(ValidationError):
        await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"], expires_at=here.clock.now())


async def test_a_manufacturer_has_at_most_a_hundred(here: World) -> None:
    for number in range(100):
        await here.auth.create_api_key("mfr_acme", f"key {number}", permissions=["api_access"])
    with pytest.raises(ValidationError) as caught:
        await here.auth.create_api_key("mfr_acme", "one more", permissions=["api_access"])
    assert caught.value.code == "TOO_MANY_API_KEYS"


async def test_near_misses(here: World) -> None:
    made = await here.auth.create_api_key("mfr_acme", "ci", permissions=["api_access"])
    key, other = made.key or "", await here.auth.create_api_key("mfr_acme", "cd", permissions=["api_access"])
    secret = (other.key or "")[20:60]
    crossed = f"gw_{made.key_id}_{secret}{checksum(made.key_id, secret)}"
    for wrong in (
        "",
        None,
        5,
        "gw_",
        key[:-1],
        key + "0",
        key.lower(),
        crossed,
        "x" * 10_000,
        key.replace("gw_", "gx_"),
    ):
        with pytest.raises(InvalidCredentialsError) as caught:
            await here.auth.verify_api_key(wrong)  # type: ignore[arg-type] # any caller
        assert caught.value.code == "INVALID_API_KEY"


async def test_built_alone_a_manufacturer_is_taken_as_it_comes() -> None:
    async with world(register=False) as alone:
        made = await alone.auth.create_api_key("mfr_x", "ci", permissions=["white_label_access"])
        assert (await alone.auth.verify_api_key(made.key or "")).permissions == ["white_label_access"]


@given(st.text(max_size=80) | st.none() | st.integers())
def test_no_text_at_all_passes_for_a_key(text: object) -> None:
    assert split_key(text) is None


@given(st.integers(0, 61), st.sampled_from("0aZ9"))
def test_the_checksum_finds_one_wrong_character(position: int, replacement: str) -> None:
    key_id, secret = "A1b2C3d4E5f6G7h8", "0123456789abcdefghijABCDEFGHIJ0123456789"
    key = f"gw_{key_id}_{secret}{checksum(key_id, secret)}"
    assert split_key(key) == (key_id, secret)
    place = 3 + position
    if key[place] not in ("_", replacement):
        assert split_key(key[:place] + replacement + key[place + 1 :]) is None
