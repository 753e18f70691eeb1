"""`gatewright serve` as a process: demo, workers, signals, and what other users of the machine can see of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatewright.cli.main import main

COMMAND = [sys.executable, "-m", "gatewright.cli.main", "serve", "--json"]


def _environment(data: Path, **more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWRIGHT_")}
    fast = {"GATEWRIGHT_ARGON2_MEMORY_KIB": "64", "GATEWRIGHT_ARGON2_TIME_COST": "1"}
    return {**inherited, **fast, "GATEWRIGHT_DATA_DIR": str(data), **more}


@contextmanager
def serving(data: Path, *arguments: str, **more: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """A service on a free port: what it told at the start, and its process."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        env=_environment(data, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        told = ""
        while not told.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            told += line
        yield json.loads(told), process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()


def _get(url: str) -> Any:
    for attempt in range(300):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())
        except OSError:
            if attempt == 299:
                raise
            time.sleep(0.05)
    return None


def _call(url: str, body: Any, token: str | None = None) -> Any:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def _credentials(data: Path) -> dict[str, str]:
    lines = (data / "demo.env").read_text().splitlines()
    return {name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}


@pytest.mark.slow
def test_the_demo_makes_all_it_needs_and_keeps_it_private(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--demo") as (told, process):
        assert told["first_start"] is True
        assert _get(f"{told['url']}/healthz") == {"status": "ok"}
        known = _credentials(data)
        signed_in = _call(
            f"{told['url']}/v1/auth/login", {"email": known["DEMO_EMAIL"], "password": known["DEMO_PASSWORD"]}
        )
        made = _call(f"{told['url']}/demo/products", {"name": "Oak shelf"}, signed_in["access_token"])
        assert made["product_id"].startswith("prd_")
        secrets = [path.read_text().strip() for path in (data / "keys").iterdir()]
        secrets += [known["DEMO_PASSWORD"], known["ADMIN_PASSWORD"], known["ADMIN_TOTP_SECRET"]]
        seen = Path(f"/proc/{process.pid}/cmdline").read_text() + Path(f"/proc/{process.pid}/environ").read_text()
        assert [secret for secret in secrets if secret in seen] == []
        assert [secret for secret in secrets if secret in json.dumps(told)] == []
        for path in (data / "demo.env", *(data / "keys").iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    with serving(data, "--demo") as (told, _):
        assert told["first_start"] is False
        assert _credentials(data) == known
        listed = urllib.request.Request(f"{told['url']}/demo/products")
        listed.add_header("Authorization", f"Bearer {signed_in['access_token']}")
        with urllib.request.urlopen(listed, timeout=10) as answer:
            assert json.loads(answer.read())["total"] == 1


@pytest.mark.slow
def test_several_workers_share_one_installation(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--demo", "--workers", "2") as (told, process):
        assert _get(f"{told['url']}/healthz") == {"status": "ok"}
        known = _credentials(data)
        body = {"email": known["DEMO_EMAIL"], "password": known["DEMO_PASSWORD"]}
        token = _call(f"{told['url']}/v1/auth/login", body)["access_token"]
        for number in range(6):
            assert _call(f"{told['url']}/demo/products", {"name": f"Shelf {number}"}, token)["product_id"]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        secrets = [path.read_text().strip() for path in (data / "keys").iterdir()]
        for child in children:
            seen = Path(f"/proc/{child}/cmdline").read_text() + Path(f"/proc/{child}/environ").read_text()
            assert [secret for secret in secrets if secret in seen] == []


@pytest.mark.slow
def test_the_service_starts_on_an_installation_and_has_no_demo(tmp_path: Path) -> None:
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "gatewright.cli.main", "init", "--keys-only"], env=_environment(data), check=True
    )
    with serving(data) as (told, _):
        assert _get(f"{told['url']}/readyz")["status"] in ("ready", "degraded")
        paths = _get(f"{told['url']}/openapi.json")["paths"]
        assert "/v1/me" in paths
        assert "/demo/products" not in paths


def test_a_taken_port_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"gatewright: ADDRESS_UNAVAILABLE: --host 127.0.0.1 --port {port}: ")
    assert err.count("\n") == 1


def test_without_keys_the_service_does_not_start(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0"]) == 2
    assert "GATEWRIGHT_SECRET_KEY=(missing)" in capsys.readouterr().err


def test_workers_cannot_share_memory(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWRIGHT_DATABASE", ":memory:")
    assert main(["serve", "--port", "0", "--workers", "2"]) == 2
    assert "GATEWRIGHT_DATABASE=:memory:" in capsys.readouterr().err


def test_a_wrong_policy_stops_the_start(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('default_tier = "gold"\n[permissions]\n[tiers.free]\n')
    monkeypatch.setenv("GATEWRIGHT_POLICY_FILE", str(policy))
    assert main(["init", "--keys-only"]) == 0
    assert main(["serve", "--port", "0"]) == 2
    err = capsys.readouterr().err
    assert f"gatewright: CONFIGURATION_ERROR: {policy}:1: " in err
    assert err.count("\n") == 1
