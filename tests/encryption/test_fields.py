"""Field declarations, and models with encrypted fields."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pydantic
import pytest

from gatewright.encryption import EncryptedField, FieldRule, FieldRules, ManufacturerEncryptionManager
from gatewright.errors import ConfigurationError, DecryptionError, InsufficientPermissionsError

Manager = ManufacturerEncryptionManager
RULES = FieldRules(
    "profile",
    {
        "tax_id": FieldRule(searchable=True, classification="regulatory"),
        "bank_account": FieldRule(classification="financial"),
        "website": FieldRule(sensitive=False, searchable=True, masked=False),
    },
)
PROFILE = {
    "company_name": "Nordwind",
    "tax_id": "12-3456789",
    "bank_account": {"iban": "DE89370400440532013000"},
    "website": "https://nordwind.example",
    "email": "anna@example.com",
}


async def test_a_record_is_sealed_field_by_field(manager: Manager) -> None:
    sealed = await RULES.seal(manager, PROFILE, manufacturer_id="a")
    assert sealed["company_name"] == "Nordwind" and sealed["website"] == PROFILE["website"]
    assert sealed["tax_id"]["encryption_metadata"]["classification"] == "regulatory"
    assert sealed["tax_id"]["encryption_metadata"]["field"] == "profile.tax_id"
    assert "12-3456789" not in json.dumps(sealed) and "DE89" not in json.dumps(sealed)
    assert await RULES.open(manager, sealed, manufacturer_id="a") == PROFILE
    assert sealed["tax_id_index"] == await RULES.index(manager, "tax_id", "12-3456789", manufacturer_id="a")
    assert sealed["website_index"] != sealed["tax_id_index"]
    assert await RULES.seal(manager, {"tax_id": None}) == {"tax_id": None}
    assert await RULES.open(manager, {"tax_id": None}) == {"tax_id": None}


async def test_an_envelope_belongs_to_its_field_and_owner(manager: Manager) -> None:
    sealed = await RULES.seal(manager, PROFILE, manufacturer_id="a")
    swapped = {**sealed, "tax_id": sealed["bank_account"]}
    with pytest.raises(DecryptionError):
        await RULES.open(manager, swapped, manufacturer_id="a")
    with pytest.raises(InsufficientPermissionsError):
        await RULES.open(manager, sealed, manufacturer_id="b")


def test_a_record_is_shown_by_its_rules() -> None:
    assert RULES.mask(PROFILE) == {
        "company_name": "Nordwind",
        "tax_id": "********89",
        "bank_account": "********",
        "website": "https://nordwind.example",
        "email": "a***@e***.com",
    }


def test_an_index_must_not_take_the_name_of_a_field() -> None:
    with pytest.raises(ConfigurationError, match="tax_id_index"):
        FieldRules("x", {"tax_id": FieldRule(searchable=True), "tax_id_index": FieldRule()})


class Struct(msgspec.Struct):
    company_name: str
    tax_id: EncryptedField[str]
    revenue: EncryptedField[float] | None = None


class Model(pydantic.BaseModel):
    company_name: str
    tax_id: EncryptedField[str]
    revenue: EncryptedField[float] | None = None


async def test_models_hold_envelopes_and_never_values(manager: Manager) -> None:
    field: EncryptedField[str] = await EncryptedField.seal(
        manager, "12-3456789", manufacturer_id="a", field="profile.tax_id", classification="regulatory"
    )
    struct = Struct("Nordwind", field)
    read: Any = msgspec.json.decode(msgspec.json.encode(struct), type=Struct)
    model = Model(company_name="Nordwind", tax_id=field)
    again = Model.model_validate_json(model.model_dump_json())
    for held in (struct, read, model, again):
        assert await held.tax_id.open(manager, manufacturer_id="a", field="profile.tax_id") == "12-3456789"
        assert "3456789" not in repr(held) and field.encrypted_payload not in repr(held)
        with pytest.raises(DecryptionError):
            await held.tax_id.open(manager, field="profile.vat")
    assert model.model_dump()["tax_id"] == field.envelope() == msgspec.to_builtins(field)
    assert await manager.decrypt_manufacturer_data(field.envelope()) == "12-3456789"
    assert "encrypted_payload" in json.dumps(Model.model_json_schema())
    for wrong in ("12-3456789", {}, {"encrypted_payload": 1, "encryption_metadata": {}}, None):
        with pytest.raises(pydantic.ValidationError):
            Model.model_validate({"company_name": "x", "tax_id": wrong})
