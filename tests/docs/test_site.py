"""The documentation site: its navigation, its links and its Python API pages, checked without building it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gatewright
import gatewright.errors
from tests.docs.pages import DOCS, ROOT, all_pages

API = DOCS / "reference" / "api"
PROJECT_PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")]
REPOSITORY = "https://github.com/gatewright/gatewright"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)


def _config() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "mkdocs.yml").read_text()))


def _nav_pages(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(target, list):
            yield from _nav_pages(target)
        else:
            yield target


def test_the_navigation_names_every_page_once() -> None:
    named = list(_nav_pages(_config()["nav"]))
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_navigation_goes_from_learning_to_understanding() -> None:
    sections = [next(iter(entry)) for entry in _config()["nav"]]
    assert sections == ["Home", "Tutorial", "How-to guides", "Reference", "Explanation"]


def test_files_that_the_configuration_names_exist() -> None:
    config = _config()
    options = next(p["mkdocstrings"] for p in config["plugins"] if isinstance(p, dict))["handlers"]["python"]
    named = [*(f"docs/{name}" for name in config["extra_css"]), *options["paths"], *options["options"]["extensions"]]
    assert [name for name in named if not (ROOT / name).exists()] == []


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and Python-Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", [*all_pages(), *PROJECT_PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        leaves_site = page.is_relative_to(DOCS) and not target.is_relative_to(DOCS)
        if not target.exists() or leaves_site or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_links_to_the_repository_name_files_that_exist() -> None:
    missing = [
        f"{page.name}: {path}"
        for page in [*all_pages(), *PROJECT_PAGES]
        for path in re.findall(rf"{re.escape(REPOSITORY)}/blob/main/([\w./-]+)", page.read_text())
        if not (ROOT / path).exists()
    ]
    assert missing == []


def _documented() -> list[str]:
    return [name for page in sorted(API.glob("*.md")) for name in _DIRECTIVE.findall(page.read_text())]


@pytest.mark.parametrize("name", _documented())
def test_api_pages_name_what_can_be_imported_from_a_public_place(name: str) -> None:
    """``gatewright.X`` or ``gatewright.package.X``, never a module inside a package."""
    assert name.count(".") <= 2
    parent, _, last = name.rpartition(".")
    module = importlib.import_module(parent)
    if parent == "gatewright" and last not in gatewright.__all__:
        assert importlib.import_module(name).__name__ == name
    else:
        assert last in getattr(module, "__all__", vars(module))


def test_every_public_name_is_on_an_api_page() -> None:
    documented = {name.rpartition(".")[2] for name in _documented()}
    documented |= {name for name in vars(gatewright.errors) if name.endswith("Error")}
    assert set(gatewright.__all__) - {"__version__"} - documented == set()


def test_the_readme_installs_in_its_first_ten_lines() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:10]
    assert f'pip install "gatewright @ git+{REPOSITORY}"' in first
    assert REPOSITORY in (ROOT / "pyproject.toml").read_text()
