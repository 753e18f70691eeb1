"""Field declarations: which fields are sensitive, searchable or masked, and sealing field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gatewright.encryption.masking import mask, mask_value
from gatewright.encryption.records import Envelope
from gatewright.errors import ConfigurationError
from gatewright.records import Record
from gatewright.references import TenantRef

T = TypeVar("T")

INDEX_SUFFIX = "_index"
"""The suffix of blind indexes: the index of ``tax_id`` is ``tax_id_index``."""


class DataEncryption(Protocol):
    """The calls of the encryption manager that fields need."""

    async def encrypt_manufacturer_data(
        self,
        data: Any,
        *,
        manufacturer_id: TenantRef | None = None,
        classification: str | None = None,
        field: str | None = None,
    ) -> Envelope: ...

    async def decrypt_manufacturer_data(
        self, encrypted: Envelope, *, manufacturer_id: TenantRef | None = None, field: str | None = None
    ) -> Any: ...

    async def blind_index(self, manufacturer_id: TenantRef | None, field: str, value: Any) -> str: ...


class FieldRule(Record, frozen=True, kw_only=True):
    """How a field is protected.

    ``sensitive`` fields are encrypted. ``searchable`` fields get a blind index, for equality searches. ``masked``
    fields show only their last characters. ``classification`` is stored in the envelope's metadata.
    """

    sensitive: bool = True
    searchable: bool = False
    masked: bool = True
    classification: str | None = None


class FieldRules:
    """The rules of one kind of record.

    Args:
        record: the name of the kind. Envelopes are bound to ``record.field``.
        rules: by field name. Fields without a rule stay in plaintext.

    Raises:
        ConfigurationError: the name of a blind index is already the name of a field.
    """

    def __init__(self, record: str, rules: Mapping[str, FieldRule]) -> None:
        self.record = record
        self.rules = dict(rules)
        for name, rule in self.rules.items():
            if rule.searchable and name + INDEX_SUFFIX in self.rules:
                raise ConfigurationError(
                    f"{record}.{name}{INDEX_SUFFIX} is both a field and the index of {name}. Rename the field."
                )

    async def seal(
        self, manager: DataEncryption, data: Mapping[str, Any], *, manufacturer_id: TenantRef | None = None
    ) -> dict[str, Any]:
        """A copy of ``data`` with envelopes for sensitive fields, and indexes for searchable ones."""
        sealed: dict[str, Any] = {}
        for name, value in data.items():
            rule = self.rules.get(name)
            if rule is None or value is None:
                sealed[name] = value
                continue
            if rule.searchable:
                sealed[name + INDEX_SUFFIX] = await self.index(manager, name, value, manufacturer_id=manufacturer_id)
            sealed[name] = value
            if rule.sensitive:
                sealed[name] = await manager.encrypt_manufacturer_data(
                    value,
                    manufacturer_id=manufacturer_id,
                    classification=rule.classification,
                    field=self._path(name),
                )
        return sealed

    async def open(
        self, manager: DataEncryption, sealed: Mapping[str, Any], *, manufacturer_id: TenantRef | None = None
    ) -> dict[str, Any]:
        """Restore the data of :meth:`seal`.

        Raises:
            DecryptionError: an envelope cannot be decrypted, or is bound to another field.
            InsufficientPermissionsError: an envelope belongs to another manufacturer.
        """
        opened: dict[str, Any] = {}
        indexes = {name + INDEX_SUFFIX for name, rule in self.rules.items() if rule.searchable}
        for name, value in sealed.items():
            rule = self.rules.get(name)
            if name in indexes:
                continue
            opened[name] = value
            if rule is not None and rule.sensitive and value is not None:
                opened[name] = await manager.decrypt_manufacturer_data(
                    value, manufacturer_id=manufacturer_id, field=self._path(name)
                )
        return opened

    async def index(
        self, manager: DataEncryption, name: str, value: Any, *, manufacturer_id: TenantRef | None = None
    ) -> str:
        """The value of ``<name>_index`` in records with this value in the field."""
        return await manager.blind_index(manufacturer_id, self._path(name), value)

    def mask(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A masked copy of ``data``. Fields without a rule are masked by name and content."""
        masked: dict[str, Any] = {}
        for name, value in data.items():
            rule = self.rules.get(name)
            if rule is None:
                masked[name] = mask({name: value})[name]
            else:
                masked[name] = mask_value(value) if rule.masked else value
        return masked

    def _path(self, name: str) -> str:
        return f"{self.record}.{name}"


class EncryptedField(msgspec.Struct, Generic[T], frozen=True):
    """A field of a msgspec or pydantic model that contains an envelope instead of the value.

    ::

        class Profile(msgspec.Struct):          # or pydantic.BaseModel
            company_name: str
            tax_id: EncryptedField[str]

        profile = Profile("Nordwind", await EncryptedField.seal(manager, "12-3456789", field="profile.tax_id"))
        await profile.tax_id.open(manager)

    In JSON, the field is the envelope.
    """

    encrypted_payload: str
    encryption_metadata: dict[str, Any]

    @classmethod
    async def seal(
        cls,
        manager: DataEncryption,
        value: T,
        *,
        manufacturer_id: TenantRef | None = None,
        classification: str | None = None,
        field: str | None = None,
    ) -> EncryptedField[T]:
        """Encrypt ``value``. The parameters are those of ``encrypt_manufacturer_data``."""
        envelope = await manager.encrypt_manufacturer_data(
            value, manufacturer_id=manufacturer_id, classification=classification, field=field
        )
        return cls(**envelope)

    async def open(
        self, manager: DataEncryption, *, manufacturer_id: TenantRef | None = None, field: str | None = None
    ) -> T:
        """Decrypt the value. Raises the errors of ``decrypt_manufacturer_data``."""
        value: T = await manager.decrypt_manufacturer_data(
            self.envelope(), manufacturer_id=manufacturer_id, field=field
        )
        return value

    def envelope(self) -> Envelope:
        """The envelope as a dictionary."""
        return {"encrypted_payload": self.encrypted_payload, "encryption_metadata": dict(self.encryption_metadata)}

    def __repr__(self) -> str:
        return f"EncryptedField({self.encryption_metadata.get('key_id')})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic accept an EncryptedField or an envelope, and serialize the envelope."""
        from pydantic_core import core_schema  # installed with pydantic, which calls this

        def read(value: Any) -> EncryptedField[Any]:
            if isinstance(value, EncryptedField):
                return value
            try:
                return msgspec.convert(value, EncryptedField[Any])
            except msgspec.ValidationError as error:
                raise ValueError(f"Not an envelope: {error}") from None

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.envelope())
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"encrypted_payload": {"type": "string"}, "encryption_metadata": {"type": "object"}},
            "required": ["encrypted_payload", "encryption_metadata"],
        }
