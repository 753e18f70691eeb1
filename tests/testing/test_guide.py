"""The guide's tests pass as printed, under pytest with the plugin."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pages import DOCS, blocks
from tests.testing.test_pytest_plugin import run


def test_the_tests_of_the_guide_pass(tmp_path: Path) -> None:
    text = "".join(block.text for block in blocks(DOCS / "how-to/test-your-application.md", "python"))
    wanted = text.count("def test_")
    code, output = run(tmp_path, text, "-p", "asyncio", "-o", "asyncio_mode=auto")
    assert code == 0 and f"{wanted} passed" in output, output
