"""Every example runs: the Python of the pages, and the shell of the README against a demo server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, all_pages, blocks
from tests.support.server import DemoServer

PYTHON_PAGES = [page for page in all_pages() if blocks(page, "python")]
_ADDRESS = re.compile(r"127\.0\.0\.1:8000|localhost:8000")


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of a page are one program: a later one may use what an earlier one made."""
    program = ""
    for block in blocks(page, "python"):
        program += "\n" * (block.line - 1 - program.count("\n")) + block.text
    script = tmp_path / f"{page.stem}.py"
    script.write_text(program)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWRIGHT_")}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{page}:\n{done.stderr[-3000:]}"


def _shell(blocks_: list[str], server: DemoServer) -> list[str]:
    """Run blocks in one shell, as a reader would; what each of them printed."""
    mark = "=== next block ==="
    script = f"set -eu\ncd {server.data.parent}\n" + f"\necho\necho '{mark}'\n".join(blocks_)
    script = _ADDRESS.sub(f"127.0.0.1:{server.port}", script)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(mark)


def _answers(output: str) -> list[dict[str, Any]]:
    """The JSON objects of an output; ``curl`` puts no line breaks between them."""
    found, decoder, rest = [], json.JSONDecoder(), output.strip()
    while rest.startswith("{"):
        answer, end = decoder.raw_decode(rest)
        found.append(answer)
        rest = rest[end:].lstrip()
    assert not rest, rest
    return found


def test_shell_of_the_readme_works_as_printed(demo: DemoServer) -> None:
    printed = blocks(ROOT / "README.md", "sh")
    calls = [block.text for block in printed if "curl" in block.text]
    assert len(calls) >= 4
    outputs = _shell(calls, demo)
    for call, output in zip(calls, outputs, strict=True):
        answers = _answers(output)
        assert answers, f"no answer to:\n{call}\n{output}"
        codes = [answer.get("code") for answer in answers if answer.get("status") in range(400, 600)]
        attack = "UNION SELECT" in call or "<script>" in call
        assert codes == (["THREAT_DETECTED"] if attack else []), f"{call}\n{output}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        line.split()[1]
        for page in all_pages()
        for block in blocks(page, "sh")
        for line in block.text.splitlines()
        if line.startswith("make ")
    }
    assert named
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


def test_every_other_block_of_the_readme_installs_or_is_a_call_of_make() -> None:
    others = [block.text for block in blocks(ROOT / "README.md", "sh") if "curl" not in block.text]
    assert [text for text in others if not re.fullmatch(r"((make|pip install) \S+( \S+)*\n)+", text)] == []
