"""Evidence shows the attack and no secret."""

from __future__ import annotations

from gatewright.threats.engine import DetectionEngine
from gatewright.threats.explain import EVIDENCE


def test_the_span_points_at_the_attack(engine: DetectionEngine) -> None:
    text = "a note " * 40 + "<script>alert(1)</script>"
    finding = engine.inspect(text).findings[0]
    span = finding.metadata["spans"][0]
    assert span["in"] == "value" and span["start"] >= 270 and span["rule"] in finding.detected_patterns
    assert "<script>" in finding.evidence and len(finding.evidence) <= EVIDENCE


def test_the_decoded_form_is_shown(engine: DetectionEngine) -> None:
    finding = engine.inspect("%253Cscript%253Ealert(1)%253C/script%253E").findings[0]
    assert finding.metadata["decoded"] == "<script>alert(1)</script>"
    assert {"url", "url_twice"} <= set(finding.metadata["signals"])
    assert finding.metadata["spans"][0]["in"] == "decoded"


def test_what_only_shows_without_comments_is_said_so(engine: DetectionEngine) -> None:
    finding = engine.inspect("1'/**/un/**/ion/**/UNION/**/SELECT/**/password/**/FROM/**/users--").findings[0]
    assert {span["in"] for span in finding.metadata["spans"]} <= {"value", "decoded", "squashed"}


def test_secrets_in_evidence_are_masked(engine: DetectionEngine) -> None:
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWc"
    for text in (f"Bearer {secret} <script>alert(1)</script>", f"%3Cscript%3Ealert(1)%3C/script%3E password={secret}"):
        finding = engine.inspect(text).findings[0]
        assert secret not in repr(finding)


def test_a_finding_is_a_sentence_and_references(engine: DetectionEngine) -> None:
    details = engine.inspect({"q": "../../../etc/passwd"}).findings[0].threat_details
    assert details["summary"].startswith("The value at $.q looks like path traversal: ")
    assert all(reference.startswith(("CWE-", "CAPEC-", "CVE-")) for reference in details["references"])
