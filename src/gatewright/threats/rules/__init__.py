"""Detection rules: one file per category, each rule with its tier, explanation and examples.

Tiers say how far a hit can be trusted: ``certain`` rules decide nearly alone, ``strong`` ones with a little
support of the model, ``weak`` ones are evidence among other evidence.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
import re2

from gatewright.errors import ConfigurationError
from gatewright.records import Record
from gatewright.threats.structure import CHECKS

HERE = Path(__file__).parent

Tier = Literal["certain", "strong", "weak"]


class DetectionRule(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. ``pattern`` is a linear-time expression (RE2 syntax), without case, the dot matching line ends.

    Where ``confirm`` names a check of structure (``threats/structure``), a hit counts only if the check agrees.
    ``file`` says where the rule is; loading fills it in.
    """

    id: str
    tier: Tier
    severity: Literal["low", "medium", "high", "critical"]
    explain: str
    pattern: str
    match: list[str]
    harmless: list[str] = []
    confirm: str = ""
    file: str = ""
    threat_type: str = ""
    references: list[str] = []


class _File(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    threat_type: str
    references: list[str]
    rules: list[DetectionRule]


class RuleSet(Record, frozen=True, kw_only=True):
    """All rules in a fixed order (by id), and a digest of what they say."""

    rules: tuple[DetectionRule, ...]
    digest: str


def load_rules(directory: str | Path | None = None) -> RuleSet:
    """Read every ``*.toml`` of a directory; the package's own without one.

    Raises:
        ConfigurationError: a file does not have the form, an id is used twice, or an expression is invalid.
    """
    found: dict[str, DetectionRule] = {}
    for path in sorted(Path(directory or HERE).glob("*.toml")):
        try:
            file = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, OSError) as error:
            raise ConfigurationError(f"{path}: not a rule file: {error}; correct it, or remove it.") from None
        for rule in file.rules:
            if rule.id in found:
                raise ConfigurationError(f"{path}: the rule id {rule.id} is used twice; rename one.")
            found[rule.id] = msgspec.structs.replace(
                rule, threat_type=file.threat_type, references=file.references, file=str(path)
            )
            if directory is not None:
                _check(found[rule.id])
    rules = tuple(found[name] for name in sorted(found))
    if not rules:
        raise ConfigurationError(f"{directory}: no rules in this directory; use one with *.toml rule files.")
    said = "\n".join(f"{r.id}\t{r.tier}\t{r.threat_type}\t{r.pattern}\t{r.confirm}" for r in rules)
    return RuleSet(rules=rules, digest=hashlib.sha256(said.encode()).hexdigest())


def refused(rule: DetectionRule, reason: object) -> ConfigurationError:
    """What to raise for a rule that cannot be used, with where it is and what to do."""
    return ConfigurationError(
        f"{rule.file or 'rules'}: the rule {rule.id} cannot be used: {reason}; correct it "
        "(RE2 syntax: no look-around, no back-references; confirm names a check of structure), or remove it."
    )


def _check(rule: DetectionRule) -> None:
    """Tell a bad rule of an installation at once; those that ship are tested."""
    if rule.confirm and rule.confirm not in CHECKS:
        raise refused(rule, f"there is no check {rule.confirm!r}, only {', '.join(sorted(CHECKS))}")
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(rule.pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise refused(rule, reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason) from None
