"""Sensitive fields are found by name and content, with equal results of fast and full scans."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gatewright.encryption import (
    MAX_FIELDS,
    ManufacturerEncryptionManager,
    class_of_name,
    class_of_text,
    classify,
    is_plain,
    luhn,
    scan_fields,
)
from tests.encryption.conftest import ROOT

NAMES = {
    "financial": [
        "bank_account",
        "bankAccount",
        "IBAN",
        "annual_revenue",
        "profit_margin",
        "CreditCardNumber",
        "salary",
    ],
    "personal": ["email", "business_email", "contactPhone", "date_of_birth", "home address", "first-name", "ssn"],
    "business_confidential": ["supplier_list", "customer_data", "api_key", "wholesalePrice", "pricing", "password"],
    "regulatory": ["tax_id", "taxId", "vat_number", "business_license", "registration_number", "EIN"],
    "intellectual_property": ["trade_secrets", "patent_number", "source_code", "formula", "designFiles", "cad_file"],
}
HARMLESS = [
    "company_name",
    "product",
    "sku",
    "color",
    "description",
    "quantity",
    "id",
    "created_at",
    "title",
    "",
    "número",
]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in NAMES.items() for n in names])
def test_names_tell_their_class(kind: str, name: str) -> None:
    assert class_of_name(name) == kind


@pytest.mark.parametrize("name", HARMLESS)
def test_other_names_tell_nothing(name: str) -> None:
    assert class_of_name(name) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("financial", "Please pay to DE89 3704 0044 0532 0130 00 EUR by Friday"),
        ("financial", "GB82WEST12345698765432"),
        ("financial", "card 4111 1111 1111 1111 exp"),
        ("financial", "5500-0000-0000-0004"),
        ("regulatory", "our EIN is 12-3456789."),
        ("regulatory", "USt-IdNr. DE136695976"),
        ("regulatory", "ATU12345678"),
        ("personal", "write to anna.b+x@example.co.uk please"),
        ("personal", "call +49 (30) 901820-15 now"),
        ("personal", "(415) 555-2671"),
        ("personal", "415.555.2671"),
        ("personal", "123-45-6789"),
        ("financial", "anna@example.com pays from DE89370400440532013000"),
    ],
)
def test_values_are_known_by_their_form(kind: str, text: str) -> None:
    assert class_of_text(text) == kind
    assert classify({"note": text}) == {"note": kind}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bolt M8x40, stainless, 1,250 pieces",
        "order 1234567890123 of 2024-05-06",
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "06.05.2024 10:30",
        "@home",
        "ratio 12.3456789",
        "3.14159265358979",
        "ISBN 978-3-16-148410-0",
        "12345678",
        "1-2-3",
        "192.168.100.200",
        "v1.2.3 @ 5",
    ],
)
def test_harmless_text_is_left_alone(text: str) -> None:
    assert class_of_text(text) is None
    assert classify({"note": text}) == {}


def test_paths_lead_to_what_was_found() -> None:
    data = {
        "company": "x",
        "people": [{"name": "A", "email": "a@b.co"}, {"name": "B", "email": None}],
        "notes": ["nothing", "call +49 30 901820"],
        "deep": {"er": {"x": 4111111111111111}},
        "tax_id": None,
        1: "anna@example.com",
    }
    assert classify(data) == {
        "people[].email": "personal",
        "notes[]": "personal",
        "deep.er.x": "financial",
    }
    assert classify("anna@example.com") == {"": "personal"}
    assert classify(["x", ("anna@example.com",)]) == {"[][]": "personal"}
    assert classify(7) == classify(None) == classify(dt.date(2024, 1, 1)) == {}


def test_findings_are_bounded() -> None:
    assert len(classify({f"email {n}": "x" for n in range(1000)})) == MAX_FIELDS
    circle: dict[str, Any] = {}
    circle["again"] = circle
    assert classify(circle) == {}


def test_luhn() -> None:
    assert luhn("79927398713") and not luhn("79927398710")


TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["anna@example.com", "DE89370400440532013000", "+49 30 901820", "4111 1111 1111 1111", "12-3456789"]
    ),
)
VALUE = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(-5, 5), st.just(4111111111111111), st.floats(allow_nan=False)
)
KEYS = st.sampled_from(["a", "b", "email", "tax_id", "items", "note"])
RECORDS = st.recursive(
    VALUE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(st.dictionaries(KEYS, VALUE, max_size=2), max_size=3),
        st.dictionaries(KEYS, inner, max_size=4),
        st.tuples(inner),
    ),
    max_leaves=10,
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.dictionaries(KEYS, RECORDS, max_size=5), min_size=1, max_size=6))
def test_the_short_way_finds_what_the_thorough_one_does(records: list[dict[str, Any]]) -> None:
    for record in records * 2:
        found = scan_fields(record)
        assert dict(zip(found.fields, found.classes, strict=True)) == classify(record)
        assert found.plain == is_plain(record)


def test_lists_that_look_alike_on_the_way_are_told_apart() -> None:
    one, two = {"a": [{"x": "1"}, {"email": "1"}], "b": []}, {"a": [{"x": "1"}], "b": [{"email": "1"}]}
    for record in (one, two, one, two):
        assert scan_fields(record).fields == list(classify(record))


def test_wide_deep_and_odd_records_go_the_thorough_way() -> None:
    deep: Any = {"email": "x"}
    for _ in range(12):
        deep = {"in": deep}
    odd: list[Any] = [
        {f"n{n}": "anna@example.com" for n in range(100)},
        {"list": ["x"] * 200},
        {"list": [1, "x"]},
        {"list": [4111111111111111]},
        {"list": [{"a": 4111111111111111}]},
        {"n": 2**200},
        {1: "x", "email": "x"},
        {"note": "x" * 20_000 + " anna@example.com"},
        deep,
        [],
        "anna@example.com",
    ]
    for record in odd:
        found = scan_fields(record)
        assert dict(zip(found.fields, found.classes, strict=True)) == classify(record)


async def test_results_of_one_call_are_not_those_of_another() -> None:
    manager = ManufacturerEncryptionManager(ROOT)
    first = await manager.encrypt_manufacturer_data({"email": "x"}, manufacturer_id="a")
    first["encryption_metadata"]["sensitive_fields"].append("spoiled")
    first["encryption_metadata"]["sensitive_classes"].append("spoiled")
    second = await manager.encrypt_manufacturer_data({"email": "x"}, manufacturer_id="a")
    assert second["encryption_metadata"]["sensitive_fields"] == ["email"]
    assert await manager.decrypt_manufacturer_data(second) == {"email": "x"}
