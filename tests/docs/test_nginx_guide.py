"""The configuration of the nginx guide, as printed, in front of a service that knows nothing of Gatewright."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks
from tests.support.ports import free_port
from tests.support.server import DemoServer

FRAME = """
daemon off; error_log {place}/error.log; pid {place}/nginx.pid; {user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    {server}
}}
"""


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that reached it."""

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def backend() -> Iterator[int]:
    """The port of the service behind."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture
def nginx(demo: DemoServer, backend: int, tmp_path: Path) -> Iterator[int]:
    """The port of nginx with the guide's configuration."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        if "nginx" in os.environ.get("GATEWRIGHT_TEST_SKIP", "").split(","):
            pytest.skip("nginx is left out by GATEWRIGHT_TEST_SKIP")
        pytest.fail("This test needs nginx: run `apt-get install -y nginx`, or set GATEWRIGHT_TEST_SKIP=nginx.")
    port = free_port()
    printed = blocks(DOCS / "how-to" / "nginx-forward-auth.md", "nginx")[0].text
    server = printed.replace("listen 8080", f"listen 127.0.0.1:{port}").replace(":8000/", f":{demo.port}/")
    server = server.replace(":9000", f":{backend}")
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(FRAME.format(place=tmp_path, server=server, user=user))
    command = [program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for _ in range(1_500):
            if _answers(port):
                break
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr:
            process.stderr.close()


def _answers(port: int) -> bool:
    try:
        _get(port, {})
    except OSError:
        return False
    return True


def _get(port: int, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/orders/1", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else {}
    finally:
        connection.close()


def _token(demo: DemoServer) -> str:
    known = dict(line.split("=", 1) for line in (demo.data / "demo.env").read_text().splitlines() if "=" in line)
    body = {"email": known["DEMO_EMAIL"].strip("'"), "password": known["DEMO_PASSWORD"].strip("'")}
    connection = http.client.HTTPConnection("127.0.0.1", demo.port, timeout=10)
    connection.request("POST", "/v1/auth/login", json.dumps(body), {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["access_token"])


def test_only_a_known_caller_reaches_the_service(nginx: int, demo: DemoServer) -> None:
    assert _get(nginx, {})[0] == 401
    assert _get(nginx, {"Authorization": "Bearer garbage"})[0] == 401
    assert _get(nginx, {"X-Gatewright-Manufacturer": "mfr_other"})[0] == 401
    forged = {"X-Gatewright-Tier": "enterprise", "X-Gatewright-Manufacturer": "mfr_other"}
    status, seen = _get(nginx, {"Authorization": f"Bearer {_token(demo)}", **forged})
    assert status == 200
    assert seen["x-gatewright-manufacturer"] == "mfr_demo"
    assert seen["x-gatewright-tier"] == "free"
    assert "upload_products" in seen["x-gatewright-permissions"].split(",")
