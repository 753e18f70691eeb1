"""Masked data reveals nothing sensitive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from gatewright.encryption import ManufacturerEncryptionManager, mask, mask_value
from gatewright.errors import FieldError
from tests.encryption.test_serialization import VALUES


def test_sensitive_fields_are_masked_and_the_rest_is_as_it_was() -> None:
    data = {
        "company_name": "Nordwind",
        "tax_id": "12-3456789",
        "bank_account": "DE89370400440532013000",
        "email": "anna@example.com",
        "password": "correct horse battery",
        "api_key": None,
        "revenue": 1250000,
        "active": True,
        "contact": {"phone": "+49 30 901820", "verified": True},
        "logo": b"\x89PNG",
        "note": "Pay DE89 3704 0044 0532 0130 00 or write to anna@example.com.",
        "people": [{"first_name": "Anna"}],
        "count": 3,
    }
    shown = ManufacturerEncryptionManager().mask(data)
    assert shown == {
        "company_name": "Nordwind",
        "tax_id": "********89",
        "bank_account": "******************3000",
        "email": "a***@e***.com",
        "password": "********",
        "api_key": None,
        "revenue": "********",
        "active": True,
        "contact": {"phone": "**********820", "verified": True},
        "logo": "(4 bytes)",
        "note": "Pay ***********************0 00 or write to a***@e***.com.",
        "people": [{"first_name": "****"}],
        "count": 3,
    }
    assert data["password"] == "correct horse battery"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("short", "*****"),
        ("12345678", "******78"),
        ("x" * 16, "*" * 12 + "xxxx"),
        ("y" * 100, "*" * 8 + "yyyy"),
        (7, "********"),
        (None, None),
        (False, False),
        ("a@b", "a***@***"),
        ([1], "********"),
    ],
)
def test_how_much_a_mask_shows(value: Any, shown: Any) -> None:
    assert mask_value(value) == shown


def test_long_numbers_records_and_odd_things() -> None:
    assert mask(4111111111111111) == "************1111"
    assert mask(10**40) == "********"
    assert mask({"n": 123456789012}) == {"n": "123456789012"}
    assert mask(FieldError(field="f", error_type="T", message="anna@example.com"))["message"] == "a***@e***.com"
    assert mask({"x"}) == ["x"]
    circle: list[Any] = []
    circle.append(circle)
    assert "********" in str(mask(circle))
    tree: dict[str, Any] = {}
    tree["email"] = tree
    assert "********" in str(mask(tree))


@given(VALUES)
def test_masking_never_raises(value: Any) -> None:
    mask(value)
    mask({"email": value, "note": value})
