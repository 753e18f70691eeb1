"""What ``gatewright doctor`` looks at: each function yields :class:`Check` results and changes nothing."""

from gatewright.cli.checks.result import Check, finding, note, ok

__all__ = ["Check", "finding", "note", "ok"]
