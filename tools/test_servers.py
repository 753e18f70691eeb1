"""Make sure that the servers which the tests drive are there: Debian's redis-server, chromium and nginx.

As root on Debian what is missing is installed; otherwise it is named, and the tests that need it fail with
that sentence unless ``GATEWRIGHT_TEST_SKIP`` names it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = {"redis-server": "redis-server", "chromium": "chromium", "nginx": "nginx"}


def main() -> int:
    missing = sorted(package for program, package in PROGRAMS.items() if shutil.which(program) is None)
    if not missing:
        return 0
    wanted = "apt-get install -y " + " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"The tests need {', '.join(missing)}: run `{wanted}` as root.", file=sys.stderr)
        return 0
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"Installing {', '.join(missing)} ...", file=sys.stderr)
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
