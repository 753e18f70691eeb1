"""Envelopes: round trips, ownership, and rejection of every change."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings

from gatewright.encryption import (
    CHUNK_BYTES,
    PREFIX_CHARACTERS,
    EncryptedField,
    FieldRule,
    FieldRules,
    ManufacturerEncryptionManager,
    new_subkey,
    sealing,
)
from gatewright.errors import (
    ConfigurationError,
    DecryptionError,
    InsufficientPermissionsError,
    KeyUnavailableError,
    ValidationError,
)
from gatewright.performance import timings
from gatewright.testing import ManualClock
from tests.encryption.conftest import ROOT
from tests.encryption.test_serialization import VALUES, same

Manager = ManufacturerEncryptionManager

RECORD = {
    "company_name": "Nordwind Werkzeuge",
    "tax_id": "12-3456789",
    "revenue": Decimal("1250000.50"),
    "founded": dt.date(1987, 4, 1),
    "contact": {"email": "anna@example.com", "since": dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)},
    "serial": 2**80,
    "logo": b"\x89PNG",
    "tags": ["tools", "steel"],
}
ORDINARY = {"algorithm", "key_id", "key_version", "encrypted_at", "version", "sensitive_fields"}


async def refused(manager: Manager, envelope: Any, **kwargs: Any) -> None:
    with pytest.raises(DecryptionError) as caught:
        await manager.decrypt_manufacturer_data(envelope, **kwargs)
    assert str(caught.value) == "The data could not be decrypted."
    assert caught.value.code == "DECRYPTION_FAILED" and caught.value.context == {}


async def test_a_record_comes_back_with_its_types(manager: Manager) -> None:
    envelope = await manager.encrypt_manufacturer_data(RECORD, manufacturer_id="mfr_1", classification="financial")
    metadata = envelope["encryption_metadata"]
    assert set(envelope) == {"encrypted_payload", "encryption_metadata"} and metadata.keys() >= ORDINARY
    assert metadata["algorithm"] == "AES-256-GCM" and metadata["key_version"] == 1 and metadata["version"] == "2.0"
    assert dt.datetime.fromisoformat(metadata["encrypted_at"]).tzinfo is not None
    assert metadata["sensitive_fields"] == ["tax_id", "revenue", "contact"]
    assert metadata["sensitive_classes"] == ["regulatory", "financial", "personal"]
    travelled = json.loads(json.dumps(envelope))
    assert same(await manager.decrypt_manufacturer_data(travelled, manufacturer_id="mfr_1"), RECORD)
    for value in ("12-3456789", "1250000", "anna", "Nordwind"):
        assert value not in json.dumps(envelope)


async def test_without_further_words_the_metadata_is_the_six_of_the_contract(manager: Manager) -> None:
    envelope = await manager.encrypt_manufacturer_data({"a": 1})
    assert set(envelope["encryption_metadata"]) == ORDINARY
    assert await manager.decrypt_manufacturer_data(envelope) == {"a": 1}


@settings(max_examples=60, deadline=None)
@given(value=VALUES)
async def test_any_value_comes_back(value: Any) -> None:
    manager = Manager(ROOT)
    assert same(await manager.decrypt_manufacturer_data(await manager.encrypt_manufacturer_data(value)), value)


@pytest.mark.parametrize("algorithm", ["AES-256-GCM", "ChaCha20-Poly1305"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100, CHUNK_BYTES - 10, CHUNK_BYTES, CHUNK_BYTES * 3, CHUNK_BYTES * 3 + 1])
async def test_every_size_and_kind_of_payload(algorithm: str, compress: bool, size: int) -> None:
    manager = Manager(ROOT, algorithm=algorithm, compress=compress)
    data = {"blob": bytes(range(256)) * (size // 256) + bytes(size % 256), "n": size}
    envelope = await manager.encrypt_manufacturer_data(data, manufacturer_id="m")
    assert envelope["encryption_metadata"]["algorithm"] == algorithm
    assert await Manager(ROOT).decrypt_manufacturer_data(envelope) == data
    if compress and size > 1000:
        assert len(envelope["encrypted_payload"]) < size


async def test_any_flipped_bit_of_payload_or_metadata_is_refused(manager: Manager) -> None:
    envelope = await manager.encrypt_manufacturer_data(
        {"tax_id": "12-3456789"}, manufacturer_id="mfr_1", classification="regulatory", field="profile.tax_id"
    )
    for changed in flipped(envelope):
        await refused(manager, changed)
        await refused(manager, changed, manufacturer_id="mfr_1")


def flipped(envelope: dict[str, Any]) -> Any:
    """Every envelope that differs in one bit of a string or number."""
    payload, metadata = envelope["encrypted_payload"], envelope["encryption_metadata"]
    for text in one_bit_off(payload):
        yield {"encrypted_payload": text, "encryption_metadata": metadata}
    for name, value in metadata.items():
        for other in variants(value):
            yield {"encrypted_payload": payload, "encryption_metadata": {**metadata, name: other}}
        for other_name in one_bit_off(name):
            rest = {key: v for key, v in metadata.items() if key != name}
            yield {"encrypted_payload": payload, "encryption_metadata": {**rest, other_name: value}}


def variants(value: Any) -> Any:
    if isinstance(value, str):
        yield from one_bit_off(value)
    elif isinstance(value, int):
        yield from (value ^ 1 << bit for bit in range(31))
    else:
        for place, member in enumerate(value):
            yield from ([*value[:place], other, *value[place + 1 :]] for other in one_bit_off(member))


def one_bit_off(text: str) -> Any:
    raw = text.encode()
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed).decode("latin-1")


async def test_what_is_added_left_out_or_of_another_type_is_refused(manager: Manager) -> None:
    envelope = await manager.encrypt_manufacturer_data({"email": "a@b.co"}, manufacturer_id="mfr_1")
    metadata = envelope["encryption_metadata"]
    wrong: list[Any] = [{**metadata, "note": "x"}, {**metadata, "key_version": "1"}, {**metadata, "key_version": 1.0}]
    wrong += [{**metadata, "key_version": True}, {**metadata, "sensitive_fields": []}, {**metadata, "extra": object()}]
    wrong += [{k: v for k, v in metadata.items() if k != name} for name in metadata]
    wrong += [{**metadata, "manufacturer_id": None}, {**metadata, "classification": None}, None, [], "x", 7]
    for changed in wrong:
        await refused(manager, {"encrypted_payload": envelope["encrypted_payload"], "encryption_metadata": changed})
    for changed in (None, 7, [], {}, "", {"encrypted_payload": envelope["encrypted_payload"]}):
        await refused(manager, changed)
    for payload in (None, 7, b"abc", [], "", "A" * 200, envelope["encrypted_payload"].encode()):
        await refused(manager, {"encrypted_payload": payload, "encryption_metadata": metadata})


async def test_base64_that_is_not_canonical_is_refused(manager: Manager) -> None:
    for size in range(3):
        envelope = await manager.encrypt_manufacturer_data("x" * (6 + size))
        payload = envelope["encrypted_payload"]
        others = [payload + "=", payload + "\n", " " + payload, payload.rstrip("="), payload[:40] + "\n" + payload[40:]]
        others += [payload.replace("+", "-").replace("/", "_"), payload + "AAAA", payload[:-4], "=" + payload]
        if payload.endswith("="):
            end = payload.rstrip("=")
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            pad = payload[len(end) :]
            others += [end[:-1] + alphabet[alphabet.index(end[-1]) + 1] + pad]
        for other in others:
            if other != payload:
                await refused(manager, {**envelope, "encrypted_payload": other})


async def test_chunks_cannot_be_cut_moved_or_repeated() -> None:
    manager = Manager(ROOT)
    envelope = await manager.encrypt_manufacturer_data(b"x" * (CHUNK_BYTES * 3))
    payload = envelope["encrypted_payload"]
    size = (CHUNK_BYTES + 16) // 3 * 4
    head, chunks = (
        payload[:PREFIX_CHARACTERS],
        [payload[i : i + size] for i in range(PREFIX_CHARACTERS, len(payload), size)],
    )
    assert len(chunks) == 4
    for order in ([0, 1, 2], [0, 1], [], [1, 0, 2, 3], [0, 1, 1, 2, 3], [0, 2, 3], [0, 1, 2, 3, 3], [3], [0, 1, 3, 2]):
        await refused(manager, {**envelope, "encrypted_payload": head + "".join(chunks[i] for i in order)})
    await refused(manager, {**envelope, "encrypted_payload": payload[:-100]})


async def test_swapped_payloads_owners_and_fields_are_refused(manager: Manager) -> None:
    a = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a", field="one")
    b = await manager.encrypt_manufacturer_data({"v": 2}, manufacturer_id="b", field="one")
    c = await manager.encrypt_manufacturer_data({"v": 3}, manufacturer_id="a", field="two")
    for left, right in ((a, b), (a, c), (b, c)):
        await refused(manager, {**left, "encrypted_payload": right["encrypted_payload"]})
        await refused(manager, {**right, "encrypted_payload": left["encrypted_payload"]})
    moved = copy.deepcopy(a)
    moved["encryption_metadata"]["manufacturer_id"] = "b"
    await refused(manager, moved, manufacturer_id="b")
    await refused(manager, c, manufacturer_id="a", field="one")
    assert await manager.decrypt_manufacturer_data(c, manufacturer_id="a", field="two") == {"v": 3}


@pytest.mark.parametrize("asking", ["b", {"manufacturer_id": "b"}, SimpleNamespace(manufacturer_id="b", tier="free")])
async def test_another_manufacturer_lacks_the_permission(manager: Manager, asking: Any) -> None:
    envelope = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    for kwargs in ({"manufacturer_id": asking}, {"authorized_context": asking}):
        with pytest.raises(InsufficientPermissionsError) as caught:
            await manager.decrypt_manufacturer_data(envelope, **kwargs)
        assert caught.value.manufacturer_id == "b"
    own = SimpleNamespace(manufacturer_id="a")
    assert await manager.decrypt_manufacturer_data(envelope, authorized_context=own) == {"v": 1}
    assert await manager.decrypt_manufacturer_data(envelope) == {"v": 1}
    broken = {**envelope, "encrypted_payload": envelope["encrypted_payload"][:-8] + "AAAAAAA="}
    await refused(manager, broken, manufacturer_id="b")


async def test_the_owner_may_be_an_object_or_stand_in_the_data(manager: Manager) -> None:
    by_object = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id=SimpleNamespace(manufacturer_id="a"))
    in_data = await manager.encrypt_manufacturer_data({"v": 1, "manufacturer_id": "a"})
    for envelope in (by_object, in_data):
        assert envelope["encryption_metadata"]["manufacturer_id"] == "a"
        with pytest.raises(InsufficientPermissionsError):
            await manager.decrypt_manufacturer_data(envelope, manufacturer_id="b")
    nobodys = await manager.encrypt_manufacturer_data({"v": 1})
    with pytest.raises(InsufficientPermissionsError, match="no manufacturer"):
        await manager.decrypt_manufacturer_data(nobodys, manufacturer_id="b")
    longest = await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="x" * 200)
    assert await manager.decrypt_manufacturer_data(longest, manufacturer_id="x" * 200) == {"v": 1}
    wrong: Any
    for wrong in ("", 7, {}, "x" * 201):
        with pytest.raises(ValidationError, match="1 to 200 characters") as caught:
            await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id=wrong)
        assert caught.value.code == "INVALID_MANUFACTURER_ID"


async def test_labels_are_bounded(manager: Manager) -> None:
    for labels in ({"classification": ""}, {"classification": "x" * 101}, {"field": 7}, {"field": "x" * 501}):
        with pytest.raises(ValidationError):
            await manager.encrypt_manufacturer_data({"v": 1}, **labels)


async def test_two_keys_never_open_one_ciphertext() -> None:
    """Invisible salamanders: without key commitment, a ciphertext could be opened under two keys."""
    for algorithm in ("AES-256-GCM", "ChaCha20-Poly1305"):
        one, two = Manager(b"\x01" * 32, algorithm=algorithm), Manager(b"\x02" * 32, algorithm=algorithm)
        envelope = await one.encrypt_manufacturer_data("x", manufacturer_id="m")
        await refused(two, envelope)
        foreign = await two.encrypt_manufacturer_data("x", manufacturer_id="m")
        for metadata in (envelope["encryption_metadata"], foreign["encryption_metadata"]):
            for payload in (envelope["encrypted_payload"], foreign["encrypted_payload"]):
                mixed = {"encrypted_payload": payload, "encryption_metadata": metadata}
                if mixed not in (envelope, foreign):
                    await refused(one, mixed)
                    await refused(two, mixed)
        # The commitment of one key put before the ciphertext of the other.
        swapped = foreign["encrypted_payload"][:PREFIX_CHARACTERS] + envelope["encrypted_payload"][PREFIX_CHARACTERS:]
        await refused(two, {**foreign, "encrypted_payload": swapped})


async def test_sealing_the_same_twice_never_gives_the_same_text(manager: Manager) -> None:
    payloads = {(await manager.encrypt_manufacturer_data({"v": 1}))["encrypted_payload"] for _ in range(200)}
    assert len(payloads) == 200


async def test_the_same_root_opens_after_a_restart_and_another_does_not() -> None:
    for root in (ROOT, ROOT.hex(), base64.b64encode(ROOT).decode(), base64.urlsafe_b64encode(ROOT).decode()):
        envelope = await Manager(root).encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
        assert await Manager(ROOT).decrypt_manufacturer_data(envelope, manufacturer_id="a") == {"v": 1}
        await refused(Manager(bytes(32)), envelope)
    stretched = await Manager("correct horse battery").encrypt_manufacturer_data({"v": 1})
    assert await Manager("correct horse battery").decrypt_manufacturer_data(stretched) == {"v": 1}
    await refused(Manager("correct horse batterz"), stretched)
    own = await Manager().encrypt_manufacturer_data({"v": 1})
    await refused(Manager(), own)


@pytest.mark.parametrize("key", ["", "short", b"short", "   "])
async def test_a_key_that_is_too_short_is_named(key: str | bytes) -> None:
    with pytest.raises(KeyUnavailableError) as caught:
        await Manager(key).initialize()
    assert caught.value.code == "KEY_TOO_SHORT" and "GATEWRIGHT_ENCRYPTION_KEY" in caught.value.recommended_action


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"algorithm": "AES-128-ECB"}, {"max_messages_per_key": 0}, {"rotation_days": 0}):
        with pytest.raises(ConfigurationError):
            Manager(ROOT, **wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ConfigurationError, match="Fernet"):
        Manager(ROOT, legacy_fernet_keys=["nonsense"])


async def test_payloads_of_version_one_still_open_and_move_on() -> None:
    key = Fernet.generate_key()
    data = {"company": "Old Ltd", "manufacturer_id": "a", "n": 1}
    token = Fernet(key).encrypt(json.dumps(data).encode())
    old = {
        "encrypted_payload": base64.b64encode(token).decode(),
        "encryption_metadata": {"algorithm": "Fernet", "key_id": "k", "version": "1.0", "sensitive_fields": []},
    }
    manager = Manager(ROOT, legacy_fernet_keys=[Fernet.generate_key(), key])
    assert await manager.decrypt_manufacturer_data(old) == data
    assert await manager.decrypt_manufacturer_data(old, manufacturer_id="a") == data
    with pytest.raises(InsufficientPermissionsError):
        await manager.decrypt_manufacturer_data(old, manufacturer_id="b")
    await refused(manager, old, minimum_key_version=1)
    await refused(Manager(ROOT), old)
    await refused(manager, {**old, "encrypted_payload": token.decode()})
    new = await manager.reencrypt_manufacturer_data(old)
    assert new["encryption_metadata"]["version"] == "2.0" and new["encryption_metadata"]["manufacturer_id"] == "a"
    assert await Manager(ROOT).decrypt_manufacturer_data(new) == data
    assert await Manager(key.decode(), legacy_fernet_keys=key).decrypt_manufacturer_data(old) == data


def version_one(key: bytes, data: object, **metadata: object) -> dict[str, Any]:
    """A version 1.0 envelope, whose metadata is not authenticated."""
    token = Fernet(key).encrypt(json.dumps(data).encode())
    stated = {"algorithm": "Fernet", "key_id": "k", "version": "1.0", "sensitive_fields": [], **metadata}
    return {
        "encrypted_payload": base64.b64encode(token).decode(),
        "encryption_metadata": {name: value for name, value in stated.items() if value is not None},
    }


@pytest.mark.parametrize(
    "metadata",
    [{}, {"field": "profile.tax_id"}, {"field": "profile.tax_id", "version": None}, {"field": ["profile.tax_id"]}],
)
async def test_a_payload_of_version_one_passes_as_no_field(metadata: dict[str, object]) -> None:
    key = Fernet.generate_key()
    manager = Manager(ROOT, legacy_fernet_keys=[key])
    old = version_one(key, "12-3456789", **metadata)
    assert await manager.decrypt_manufacturer_data(old) == "12-3456789"
    await refused(manager, old, field="profile.tax_id")
    await refused(manager, old, field="profile.tax_id", manufacturer_id="a")
    rules = FieldRules("profile", {"tax_id": FieldRule()})
    with pytest.raises(DecryptionError):
        await rules.open(manager, {"tax_id": old})
    with pytest.raises(DecryptionError):
        await EncryptedField[str](**old).open(manager, field="profile.tax_id")


async def test_reencryption_vouches_for_no_label_of_version_one() -> None:
    key = Fernet.generate_key()
    manager = Manager(ROOT, legacy_fernet_keys=[key])
    old = version_one(key, {"v": 1}, field="profile.bank_account", classification="public", manufacturer_id="b")
    new = await manager.reencrypt_manufacturer_data(old)
    assert not {"field", "classification", "manufacturer_id"} & new["encryption_metadata"].keys()
    await refused(manager, new, field="profile.bank_account")


@pytest.mark.parametrize("form", [lambda key: key, lambda key: key.decode(), lambda key: key.decode().rstrip("=")])
async def test_a_root_is_no_fernet_key_unless_a_setting_says_so(form: Callable[[bytes], str | bytes]) -> None:
    key = Fernet.generate_key()
    old = version_one(key, {"v": 1})
    for manager in (Manager(form(key)), Manager(ROOT, previous_keys=[form(key)])):
        await refused(manager, old)
        assert "legacy_payloads" not in {f.check for f in (await manager.validate_encryption_compliance()).findings}
    assert await Manager(form(key), legacy_fernet_keys=[key]).decrypt_manufacturer_data(old) == {"v": 1}


async def test_keys_show_themselves_nowhere(manager: Manager) -> None:
    await manager.encrypt_manufacturer_data({"v": 1}, manufacturer_id="a")
    sealer = await manager.vault.sealer()
    key = await sealer.ring.current("a")
    shown = repr([manager, sealer, key, key.sealers, new_subkey(ROOT, manager.vault.algorithm, 0, remaining=1)])
    assert ROOT.hex() not in shown and key.secret.hex() not in shown and repr(key.secret) not in shown


async def test_seconds_pass_in_the_metadata(manager: Manager, clock: ManualClock) -> None:
    first = await manager.encrypt_manufacturer_data({})
    clock.advance(61)
    second = await manager.encrypt_manufacturer_data({})
    gap = dt.datetime.fromisoformat(second["encryption_metadata"]["encrypted_at"]) - dt.datetime.fromisoformat(
        first["encryption_metadata"]["encrypted_at"]
    )
    assert dt.timedelta(seconds=60) <= gap <= dt.timedelta(seconds=62)


async def test_what_is_too_large_for_a_record_is_sent_to_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_PLAINTEXT_BYTES", CHUNK_BYTES * 2)
    for compress in (False, True):
        manager = Manager(ROOT, compress=compress)
        fits = await manager.encrypt_manufacturer_data(bytes(CHUNK_BYTES * 2 - 100))
        assert len(await manager.decrypt_manufacturer_data(fits)) == CHUNK_BYTES * 2 - 100
        with pytest.raises(ValidationError, match="encrypt_stream") as caught:
            await manager.encrypt_manufacturer_data(bytes(CHUNK_BYTES * 2))
        assert caught.value.code == "DATA_TOO_LARGE"
    monkeypatch.setattr(sealing, "_MAX_PAYLOAD_LENGTH", 1000)
    await refused(manager, fits | {"encrypted_payload": fits["encrypted_payload"] * 5})


async def test_the_time_of_every_call_is_known(manager: Manager) -> None:
    names = [f"ManufacturerEncryptionManager.{verb}_manufacturer_data" for verb in ("encrypt", "decrypt")]
    before = [timings()[name].count if name in timings() else 0 for name in names]
    for size in (10, CHUNK_BYTES * 3):
        for _ in range(20):
            envelope = await manager.encrypt_manufacturer_data(bytes(size), manufacturer_id="a")
            await manager.decrypt_manufacturer_data(envelope, manufacturer_id="a")
    assert all(timings()[name].count - known >= 40 for name, known in zip(names, before, strict=True))
