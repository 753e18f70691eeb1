"""OWASP CRS on ModSecurity in Apache, from Debian's packages, to be measured beside us.

Apache runs on loopback with a configuration of its own in a temporary directory: two ports of the same server, one
with ``SecRuleEngine On``, one with ``Off``. The same request goes to both in turn over connections that are kept; the
difference is what the rules cost. Its own logs of findings are off, which is in its favor.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = ("apache2", "libapache2-mod-security2", "modsecurity-crs")
APACHE = Path("/usr/sbin/apache2")
MODULES = Path("/usr/lib/apache2/modules")
RECOMMENDED = Path("/etc/modsecurity/modsecurity.conf-recommended")
CRS_SETUP = Path("/etc/modsecurity/crs/crs-setup.conf")
CRS_RULES = Path("/usr/share/modsecurity-crs/rules")
NEEDED = (
    APACHE,
    MODULES / "mod_security2.so",
    RECOMMENDED,
    CRS_SETUP,
    CRS_RULES / "REQUEST-942-APPLICATION-ATTACK-SQLI.conf",
)
START_SECONDS = 30.0
BLOCKED = 403

CONFIGURATION = """
ServerRoot {directory}
ServerName localhost
PidFile {directory}/pid
ErrorLog {directory}/error.log
LogLevel emerg
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule unique_id_module {modules}/mod_unique_id.so
LoadModule security2_module {modules}/mod_security2.so
{user}
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 300
Timeout 300
Listen 127.0.0.1:{on}
Listen 127.0.0.1:{off}
DocumentRoot {directory}/www
Include {directory}/modsecurity.conf
SecRuleEngine On
SecResponseBodyAccess Off
SecAuditEngine Off
SecTmpDir {directory}/tmp
SecDataDir {directory}/tmp
Include {setup}
Include {rules}/*.conf
<VirtualHost 127.0.0.1:{off}>
  SecRuleEngine Off
</VirtualHost>
"""


class ModSecurity:
    """A running server."""

    def __init__(self, on: int, off: int) -> None:
        self._on = http.client.HTTPConnection("127.0.0.1", on, timeout=300)
        self._off = http.client.HTTPConnection("127.0.0.1", off, timeout=300)

    def figures(self, values: Sequence[Any]) -> dict[str, float | int]:
        """Microseconds that the rules take for each value, and how many are refused."""
        without, cost, refused = [], [], 0
        for value in values:
            body = json.dumps(value if isinstance(value, dict) else {"value": value}).encode()
            with_rules, status = self._post(self._on, body)
            without.append(self._post(self._off, body)[0])
            cost.append(with_rules - without[-1])
            refused += status == BLOCKED
        cost.sort()
        return {
            "crs_us_p50": round(statistics.median(cost), 1),
            "crs_us_p95": round(cost[int(0.95 * (len(cost) - 1))], 1),
            "crs_us_max": round(cost[-1], 1),
            "http_alone_us_p50": round(statistics.median(without), 1),
            "crs_values": len(values),
            "crs_refused": refused,
        }

    @staticmethod
    def _post(connection: http.client.HTTPConnection, body: bytes) -> tuple[float, int]:
        """Microseconds and status of one request."""
        headers = {"Host": "localhost", "User-Agent": "bench", "Accept": "*/*", "Content-Type": "application/json"}
        begin = time.perf_counter()
        connection.request("POST", "/answer.txt", body, headers)
        answer = connection.getresponse()
        answer.read()
        return (time.perf_counter() - begin) * 1e6, answer.status

    def close(self) -> None:
        """End both connections."""
        self._on.close()
        self._off.close()


@contextmanager
def modsecurity() -> Iterator[ModSecurity | None]:
    """A server for the time of the block; None, after a printed sentence that says why, where there is none."""
    if why_not := _missing():
        print(why_not, flush=True)
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="gatewright-crs-") as name:
        directory = Path(name)
        on, off = _free_ports(2)
        _configure(directory, on, off)
        process = subprocess.Popen([APACHE, "-f", directory / "apache.conf", "-DFOREGROUND"], cwd=directory)
        server = ModSecurity(on, off)
        try:
            _wait(process, directory, on)
            print(json.dumps({"peer": versions()}), flush=True)
            yield server
        finally:
            server.close()
            process.terminate()
            process.wait(30)


def versions() -> str:
    """The packages with their versions, as Debian names them."""
    listed = subprocess.run(["dpkg-query", "-W", *PACKAGES], capture_output=True, text=True, check=True)
    return ", ".join(" ".join(line.split()) for line in listed.stdout.splitlines())


def _missing() -> str:
    """Why there is no server, after an attempt to install it where that starts no service."""
    if all(path.exists() for path in NEEDED):
        return ""
    wanted = "apt-get install -y " + " ".join(PACKAGES)
    skipped = f"ModSecurity with OWASP CRS is not measured: run `{wanted}` as root."
    if os.geteuid() != 0 or shutil.which("apt-get") is None or Path("/run/systemd/system").exists():
        return skipped
    print(f"Installing {', '.join(PACKAGES)} ...", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], [*wanted.split(), "-qq", "--no-install-recommends"]):
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            return f"ModSecurity with OWASP CRS is not measured: `{' '.join(command)}` failed."
    return "" if all(path.exists() for path in NEEDED) else skipped


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _configure(directory: Path, on: int, off: int) -> None:
    """Everything that Apache reads, but for Debian's rules, and writes is in ``directory``."""
    for name in ("www", "tmp"):
        (directory / name).mkdir()
    (directory / "www" / "answer.txt").write_text("ok")
    (directory / "modsecurity.conf").write_text(RECOMMENDED.read_text())
    shutil.copy(RECOMMENDED.with_name("unicode.mapping"), directory)
    if os.geteuid() == 0:  # Apache leaves root's rights; its user must read and write here
        directory.chmod(0o755)
        (directory / "tmp").chmod(0o777)
    (directory / "apache.conf").write_text(
        CONFIGURATION.format(
            directory=directory,
            modules=MODULES,
            setup=CRS_SETUP,
            rules=CRS_RULES,
            user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
            on=on,
            off=off,
        )
    )


def _wait(process: subprocess.Popen[bytes], directory: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    log = directory / "error.log"
    raise SystemExit(f"Apache did not start: {log.read_text()[-2_000:] if log.exists() else 'nothing in its log'}")
