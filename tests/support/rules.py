"""A rule of an installation's own, for tests of what happens when rules are others."""

from __future__ import annotations

OWN_RULE = """
threat_type = "sql_injection"
references = ["CWE-89"]

[[rules]]
id = "own"
severity = "high"
tier = "certain"
pattern = "a {word} "
explain = "There are none here."
match = ["a {word} runs"]
harmless = ["a horse"]
"""
"""To be filled with the ``word`` that it finds, and written as a file of rules."""
