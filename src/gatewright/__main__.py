"""``python -m gatewright``: the command line, without the script."""

from __future__ import annotations

from gatewright.cli.main import run

if __name__ == "__main__":
    run()
