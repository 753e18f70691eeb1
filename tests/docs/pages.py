"""Reading the documentation: pages, code blocks, and the parts of a page that are made from the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BEGIN, _END = "<!-- made from the code: {name} -->", "<!-- end -->"


class Block(NamedTuple):
    """A fenced block: its language, its text as printed, and the line where it begins."""

    language: str
    text: str
    line: int


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, in order."""
    text = page.read_text()
    found = (Block(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text))
    return [block for block in found if block.language in languages]


def all_pages() -> list[Path]:
    """README and everything in docs/."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def section(page: Path, name: str) -> str:
    """What a page has between the marks of a made part."""
    _, _, rest = page.read_text().partition(_BEGIN.format(name=name) + "\n")
    assert rest, f"{page.name} has no part {name!r}"
    return rest.partition(_END)[0].strip("\n")


def replace_section(page: Path, name: str, text: str) -> None:
    """Write a made part again."""
    begin = _BEGIN.format(name=name) + "\n"
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(_END)[2]
    page.write_text(f"{before}{begin}\n{text}\n\n{_END}{after}")


def table_rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, its head left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
