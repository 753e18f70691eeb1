"""The reference pages say what the code says."""

from __future__ import annotations

import re
import shlex
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from gatewright import policy
from gatewright.cli.main import app
from gatewright.settings import PREFIX, Settings
from tests.docs.pages import DOCS, ROOT, all_pages, blocks, section, table_rows
from tests.docs.reference import MADE, leaves

_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, name, _ in MADE])
def test_what_is_made_from_the_code_is_up_to_date(page: Path, name: str) -> None:
    make = next(make for at, called, make in MADE if (at, called) == (page, name))
    assert section(page, name) == make(), "run `python -m tests.docs.reference`"


def test_every_setting_is_described_with_its_default() -> None:
    text = (DOCS / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| `(GATEWRIGHT_\w+)` \| `(.*?)` \| (.+) \|$", text, re.MULTILINE)
    described = {name.removeprefix(PREFIX).lower(): default for name, default, _ in rows}
    fields = Settings.model_fields
    assert list(described) == list(fields), "one row for each setting, in the order of the class"
    assert described == {name: _shown(field.default) for name, field in fields.items()}


def _shown(default: Any) -> str:
    return str(getattr(default, "value", default))


def _policy_keys() -> set[str]:
    """Every key that a policy may have, as the page writes it."""
    keys = {f"`{name}`" for name in policy.Policy.__struct_fields__}
    for record in (policy.Tier, policy.Role, policy.Limit, policy.ActionRate, policy.Lease):
        keys |= {f"`{name}`" for name in record.__struct_fields__}
    for field in msgspec.structs.fields(policy.Policy):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            keys |= {f"`{name}`" for name in field.type.__struct_fields__}
    return keys


def test_every_key_of_a_policy_is_described() -> None:
    text = (DOCS / "reference" / "policy.md").read_text()
    assert {key for key in _policy_keys() if key not in text} == set()


def test_defaults_of_a_policy_are_those_of_the_code() -> None:
    text = (DOCS / "reference" / "policy.md").read_text()
    default = policy.load_policy()
    for part in ("throttles", "detection", "detection.watch", "sessions", "adjustments", "budgets", "rotation"):
        _, _, rest = text.partition(f"## `[{part}]`")
        told = {row[0].strip("`"): row[1].strip("`") for row in table_rows(rest.partition("\n## ")[0])}
        values = dict(attrgetter(part)(default))
        assert told == {name: _policy_value(v) for name, v in values.items() if name != "watch"}


def _policy_value(value: Any) -> str:
    if isinstance(value, policy.ActionRate):
        return f"{value.limit} in {value.period:.0f}"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def test_links_lead_somewhere() -> None:
    broken = [
        (str(page.relative_to(ROOT)), target)
        for page in all_pages()
        for target, _ in _LINK.findall(page.read_text())
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    linked = {(DOCS / target).resolve() for target, _ in _LINK.findall((DOCS / "index.md").read_text())}
    pages = {page.resolve() for page in DOCS.rglob("*.md") if page.name != "index.md"}
    assert {page.name for page in pages - linked} == set()


def test_commands_in_the_docs_exist_with_their_options() -> None:
    known: dict[str, Any] = dict(leaves("gatewright", typer.main.get_command(app)))
    wrong = []
    for page in all_pages():
        for block in blocks(page, "sh", "bash"):
            for line in block.text.splitlines():
                wrong += [f"{page.name}: {line}: {fault}" for fault in _faults(line, known)]
    assert wrong == []


def _faults(line: str, known: dict[str, Any]) -> list[str]:
    """What is wrong with the calls of ``gatewright`` in a line."""
    if not re.match(r"(\w+=\S+ )*gatewright ", line):
        return []
    words = shlex.split(line, comments=True)
    call = words[words.index("gatewright") :]
    end = next((n for n, word in enumerate(call) if word in ("|", ">", "&&", ";", "&")), len(call))
    call = call[:end]
    name = next((" ".join(call[:n]) for n in (3, 2) if " ".join(call[:n]) in known), None)
    if name is None and call[:2] == ["gatewright", "usage"]:
        name = "gatewright usage show"
    if name is None:
        return [] if call[1:2] == ["--help"] else ["no such command"]
    options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
    return [word for word in call if word.startswith("--") and word.partition("=")[0] not in options]
