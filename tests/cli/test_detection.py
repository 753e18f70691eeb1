"""evaluate, inspect and scan."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewright.cli.main import main
from gatewright.storage import SqliteStore, StoredModelVersion
from gatewright.threats import Correction, LinearModel, columns, encode_correction, windows
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("place")

ATTACK = "' UNION SELECT password FROM accounts --"
HARMLESS = "Oak shelf with three boards"
ROWS: list[dict[str, Any]] = [
    {"payload": ATTACK, "label": 1, "category": "sqli", "source": "a", "id": "1"},
    {"payload": "<script>alert(document.cookie)</script>", "label": 1, "category": "xss", "source": "a", "id": "2"},
    {"payload": HARMLESS, "label": 0, "category": "benign", "source": "b", "id": "3"},
    {"payload": {"name": "Acme Tools", "sizes": [1, 2]}, "label": 0, "category": "benign", "source": "b", "id": "4"},
    {"payload": HARMLESS, "label": 1, "category": "sqli", "source": "c", "id": "5"},
]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# --- evaluate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_evaluate_as_json(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(_write(tmp_path / name, ROWS)), "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert list(told) == [
        "rows", "recall", "fpr", "precision", "by_category", "by_source", "us_per_row", "bytes_per_second"
    ]  # fmt: skip
    assert told["rows"] == 5
    assert told["recall"] == pytest.approx(2 / 3, abs=1e-5)
    assert told["fpr"] == 0
    assert told["precision"] == 1
    assert told["by_category"] == {"sqli": {"rows": 2, "recall": 0.5}, "xss": {"rows": 1, "recall": 1.0}}
    assert told["by_source"] == {
        "a": {"rows": 2, "flagged": 2},
        "b": {"rows": 2, "flagged": 0},
        "c": {"rows": 1, "flagged": 0},
    }
    assert 0 < told["us_per_row"]["p50"] <= told["us_per_row"]["p95"]
    assert told["bytes_per_second"] > 0


def test_verdicts_of_each_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "verdicts.csv"
    assert main(["evaluate", str(_write(tmp_path / "rows.jsonl", ROWS)), "--verdicts", str(out)]) == 0
    assert "recall" in capsys.readouterr().out
    verdicts = list(csv.DictReader(out.open()))
    assert list(verdicts[0]) == ["id", "verdict", "score", "threat_type"]
    assert [(v["id"], v["verdict"]) for v in verdicts] == [
        ("1", "attack"), ("2", "attack"), ("3", "harmless"), ("4", "harmless"), ("5", "harmless")
    ]  # fmt: skip
    assert verdicts[0]["threat_type"] == "sql_injection"
    assert verdicts[2]["threat_type"] == ""
    assert all(0 <= float(v["score"]) <= 1 for v in verdicts)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"payload": "x"}\n', ":1: missing field 'label'"),
        (b'\n{"payload": "x", "label": 2}\n', ":2: `label` must be 1"),
        (b"[]\n", ":1: not a JSON object"),
        (b"\xff\n", ":1: not a JSON object"),
    ],
)
def test_a_line_that_is_no_row_is_named(
    tmp_path: Path, content: bytes, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert main(["evaluate", str(path)]) == 2
    err = capsys.readouterr().err
    assert f"{path}{word}" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["evaluate", "scan"])
@pytest.mark.parametrize("kept", [-20, 40])
def test_damaged_gzip_is_named(command: str, kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.gz"
    rows = b"".join(b'{"payload": "%d", "label": 0}\n' % number for number in range(1_000))
    path.write_bytes(gzip.compress(rows)[:kept] + b"\xff" * 200)
    assert main([command, str(path)]) == 2
    assert f"{path}: corrupted gzip data" in capsys.readouterr().err


def test_the_rows_are_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _write(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "link").symlink_to(rows)
    assert main(["evaluate", str(rows), "--verdicts", str(tmp_path / "link")]) == 2
    assert "given twice" in capsys.readouterr().err
    assert len(rows.read_text().splitlines()) == len(ROWS)


def test_nothing_to_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(_write(tmp_path / "rows.jsonl", [])), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0


# --- inspect ----------------------------------------------------------------------------------------------------


def test_inspect_exits_1_on_an_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", ATTACK]) == 1
    assert "sql_injection" in capsys.readouterr().out
    assert main(["inspect", HARMLESS]) == 0
    assert "harmless" in capsys.readouterr().out


def test_a_value_may_begin_with_a_hyphen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "-1' UNION SELECT password FROM accounts --", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["threat_detected"]
    assert main(["inspect", "--", "--json"]) == 0
    assert main(["inspect", HARMLESS, "--josn"]) == 2


def test_inspect_standard_input_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.dumps({"products": [{"name": HARMLESS}, {"name": ATTACK}]}).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value)))
    assert main(["inspect", "-", "--as-json", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["threat_detected"] is True
    assert "$.products[1].name" in {found["path"] for found in told["findings"]}


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_value_that_is_no_json(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", text, "--as-json"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- scan -------------------------------------------------------------------------------------------------------


def _line(target: str, client: str = "203.0.113.7") -> str:
    return f'{client} - - [10/Oct/2025:13:55:36 +0000] "GET {target} HTTP/1.1" 200 1 "-" "Mozilla/5.0"\n'


GOOD = _line("/products?page=2")
BAD = _line("/products?q=%27%20UNION%20SELECT%20password%20FROM%20accounts%20--", "198.51.100.9")


def _scan(capsys: pytest.CaptureFixture[str], *arguments: object, code: int) -> dict[str, Any]:
    assert main(["scan", *map(str, arguments), "--json"]) == code
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_scan_sums_up_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, report = tmp_path / "access.log", tmp_path / "report.jsonl"
    log.write_text(GOOD * 3 + BAD + "no request\n" + GOOD + BAD)
    told = _scan(capsys, log, "--report", report, code=1)
    assert (told["lines"], told["blocked"], told["unreadable"]) == (7, 2, 1)
    assert told["by_threat_type"]["sql_injection"] == 2
    assert told["top_clients"] == {"198.51.100.9": 2}
    assert told["top_paths"] == {"/products": 2}
    entries = [json.loads(line) for line in report.read_text().splitlines()]
    assert [entry["line"] for entry in entries] == [4, 7]
    assert entries[0]["findings"][0]["threat_type"] == "sql_injection"


def test_scan_of_harmless_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log.gz"
    log.write_bytes(gzip.compress((GOOD * 20).encode()))
    assert _scan(capsys, log, code=0)["blocked"] == 0
    assert main(["scan", str(log)]) == 0
    assert "20 lines" in capsys.readouterr().out


def test_a_log_that_grows_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, state, report = tmp_path / "access.log", tmp_path / "state", tmp_path / "report"
    options = ("--state", state, "--report", report)
    log.write_text(GOOD + BAD + BAD[:40])
    told = _scan(capsys, log, *options, code=1)
    assert (told["lines"], told["blocked"]) == (2, 1), "the unfinished line waits"
    log.write_text(GOOD + BAD + BAD + GOOD)
    told = _scan(capsys, log, *options, code=1)
    assert (told["lines"], told["lines_this_time"], told["blocked"]) == (4, 2, 2)
    assert _scan(capsys, log, *options, code=1)["lines_this_time"] == 0
    assert len(report.read_text().splitlines()) == 2


def test_a_crash_between_report_and_state_reports_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, state, report = tmp_path / "access.log", tmp_path / "state", tmp_path / "report"
    log.write_text(BAD)
    _scan(capsys, log, "--state", state, "--report", report, code=1)
    with report.open("a") as file:
        file.write('{"torn": ')
    log.write_text(BAD * 2)
    _scan(capsys, log, "--state", state, "--report", report, code=1)
    assert [json.loads(line)["line"] for line in report.read_text().splitlines()] == [1, 2]


def test_lines_that_are_too_long_are_counted_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    log.write_text(_line("/x?" + "a" * 200_000) + BAD)
    told = _scan(capsys, log, code=1)
    assert (told["lines"], told["too_long"], told["blocked"]) == (2, 1, 1)


def test_a_huge_line_that_has_not_ended_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, state = tmp_path / "access.log", tmp_path / "state"
    log.write_text(BAD + _line("/x?" + "a" * 200_000)[:150_000])
    assert _scan(capsys, log, "--state", state, code=1)["lines"] == 1
    log.write_text(BAD + _line("/x?" + "a" * 200_000) + BAD)
    told = _scan(capsys, log, "--state", state, code=1)
    assert (told["lines"], told["too_long"], told["unreadable"], told["blocked"]) == (3, 1, 0, 2)


def test_bytes_that_are_no_text_are_scanned_and_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, report, state = tmp_path / "access.log", tmp_path / "report", tmp_path / "state"
    line = b'\xff\x1b[31m - - [\xfe] "GET /\xff\x1b]0;x\x07?q=<script>alert(1)</script> HTTP/1.1" 2\xfd\x1b[2J 1\n'
    log.write_bytes(line)
    told = _scan(capsys, log, "--report", report, "--state", state, code=1)
    assert told["top_clients"] == {"\\udcff\\x1b[31m": 1}
    assert told["top_paths"] == {"/\\udcff\\x1b]0;x\\x07": 1}
    entry = json.loads(report.read_text())
    assert (entry["time"], entry["status"]) == ("\\udcfe", "2\\udcfd\\x1b[2J")
    assert main(["scan", str(log)]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_file_may_have_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / os.fsdecode(b"\xff\x1b[31m.log")
    log.write_text(BAD)
    options = ("--report", tmp_path / "report", "--state", tmp_path / "state")
    for lines in (1, 0):
        assert _scan(capsys, log, *options, code=1)["lines_this_time"] == lines
    assert json.loads((tmp_path / "report").read_text())["file"].endswith("\\udcff\\x1b[31m.log")


def test_no_secret_is_cut_into_the_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    for begin in (150, 190, 197):
        log = tmp_path / f"{begin}.log"
        log.write_text(_line("/" + "a" * begin + f"/{token}/../../../etc/passwd"))
        (path,) = _scan(capsys, log, code=1)["top_paths"]
        assert "eyJ" not in path


def test_json_that_names_no_request_is_judged_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "app.jsonl"
    log.write_text(json.dumps({"message": ATTACK}) + "\n" + json.dumps({"message": HARMLESS}) + "\n")
    told = _scan(capsys, log, code=1)
    assert (told["lines"], told["blocked"]) == (2, 1)


def test_gzip_is_known_by_its_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed, plain = tmp_path / "access.log", tmp_path / "other.log.gz"
    packed.write_bytes(gzip.compress(BAD.encode()))
    plain.write_text(BAD)
    assert _scan(capsys, packed, plain, code=1)["blocked"] == 2


def test_a_pipe_is_scanned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as threads:
        threads.submit(pipe.write_bytes, (GOOD * 600 + BAD).encode())
        told = _scan(capsys, pipe, "--state", tmp_path / "state", code=1)
    assert (told["lines"], told["blocked"]) == (601, 1)


def test_rotated_logs_are_not_counted_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, older, state = tmp_path / "access.log", tmp_path / "access.log.1", tmp_path / "state"
    log.write_text(BAD + GOOD)
    _scan(capsys, log, "--state", state, code=1)
    log.rename(older)
    older.open("a").write(BAD)
    log.write_text(GOOD + BAD)
    told = _scan(capsys, log, older, "--state", state, code=1)
    assert (told["lines"], told["lines_this_time"], told["blocked"]) == (5, 3, 3)
    older.write_bytes(gzip.compress(older.read_bytes()))
    assert _scan(capsys, log, older, "--state", state, code=1)["lines_this_time"] == 0


@pytest.mark.parametrize("option", ["--report", "--state"])
def test_a_log_is_never_overwritten(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    log.write_text(BAD)
    assert main(["scan", str(log), option, str(log)]) == 2
    assert "given twice" in capsys.readouterr().err
    assert log.read_text() == BAD


def test_a_report_that_was_taken_away_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, state, report = tmp_path / "access.log", tmp_path / "state", tmp_path / "report"
    log.write_text(BAD)
    _scan(capsys, log, "--state", state, "--report", report, code=1)
    report.unlink()
    log.write_text(BAD * 2)
    _scan(capsys, log, "--state", state, "--report", report, code=1)
    assert [json.loads(line)["line"] for line in report.read_text().splitlines()] == [2]


def test_json_logs_with_bodies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.jsonl"
    entries = [
        {"remote_addr": "1.2.3.4", "request": "POST /p HTTP/1.1", "status": 201, "request_body": '{"n": "Oak shelf"}'},
        {
            "remote_addr": "1.2.3.4",
            "request": "POST /p HTTP/1.1",
            "status": 201,
            "request_body": json.dumps({"n": ATTACK}),
        },
    ]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    told = _scan(capsys, log, code=1)
    assert (told["lines"], told["blocked"], told["by_status"]) == (2, 1, {"201": 1})


def test_many_lines_over_several_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    log.write_text((GOOD * 99 + BAD) * 13)
    told = _scan(capsys, log, "--format", "combined", code=1)
    assert (told["lines"], told["blocked"]) == (1_300, 13)
    assert main(["scan", str(log)]) == 1
    assert "would have been blocked" in capsys.readouterr().out


# --- the installation's detector --------------------------------------------------------------------------------

OWN_RULE = """
threat_type = "sql_injection"
references = ["CWE-89"]

[[rules]]
id = "own-shelf"
severity = "high"
tier = "certain"
pattern = "an oak shelf"
explain = "The shop sells no oak."
match = ["an oak shelf"]
harmless = ["a pine shelf"]
"""


@pytest.fixture
def own_rules(tmp_path: Path) -> Path:
    directory = tmp_path / "rules"
    directory.mkdir()
    (directory / "own.toml").write_text(OWN_RULE)
    return directory


def test_inspect_and_scan_use_the_rules_of_the_settings(
    place: Path, command: Command, own_rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "access.log"
    log.write_text(_line("/products?q=an%20oak%20shelf") + GOOD)
    assert command("inspect", "an oak shelf")["threat_detected"] is False
    monkeypatch.setenv("GATEWRIGHT_RULES_DIR", str(own_rules))
    assert command("inspect", "an oak shelf", code=1)["findings"][0]["detected_patterns"] == ["own-shelf"]
    assert command("scan", str(log), code=1)["blocked"] == 1
    assert not place.exists(), "looking makes no installation"


def test_evaluate_has_default_settings_unless_told(
    command: Command, own_rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _write(tmp_path / "rows.jsonl", [{"payload": "an oak shelf", "label": 0}])
    monkeypatch.setenv("GATEWRIGHT_RULES_DIR", str(own_rules))
    assert command("evaluate", str(rows))["fpr"] == 0
    assert command("evaluate", str(rows), "--rules", str(own_rules))["fpr"] == 1
    assert main(["evaluate", str(rows), "--model", str(rows)]) == 2


async def _learn(database: Path, base: str) -> None:
    """Keep a version that takes the word of the harmless text for an attack."""
    text = "(zebra) {zebra}"
    (window,) = windows(text)
    indices = np.unique(columns(window))
    values = np.full(len(indices), 8.0, np.float32)
    store = SqliteStore(str(database))
    await store.initialize()
    version = StoredModelVersion(
        version=0,
        base=base,
        accepted=True,
        reason="",
        metrics="{}",
        delta=encode_correction(Correction(indices, values)),
        created_by="test",
        created_at=datetime(2030, 1, 1, tzinfo=UTC),
    )
    assert await store.add_model_version(version, expected_active=0)
    await store.close()


def test_inspect_uses_what_was_learned(place: Path, command: Command) -> None:
    assert command("inspect", "(zebra) {zebra}")["threat_detected"] is False
    place.mkdir()
    asyncio.run(_learn(place / "gatewright.db", LinearModel.load().base_id))
    found = command("inspect", "(zebra) {zebra}", code=1)
    assert found["findings"][0]["detected_patterns"] == ["model"] and found["findings"][0]["metadata"]["ngrams"]


def test_what_belongs_to_another_model_is_left_out_and_said(
    place: Path, command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mkdir()
    asyncio.run(_learn(place / "gatewright.db", "another"))
    assert main(["inspect", "(zebra) {zebra}"]) == 0
    assert "belong to another base model" in capsys.readouterr().err
    monkeypatch.setenv("GATEWRIGHT_MODEL_FILE", str(place / "none"))
    assert main(["inspect", ATTACK]) == 1
    assert "only rules are used" in capsys.readouterr().err


def test_a_store_that_cannot_be_read_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.mkdir()
    (place / "gatewright.db").write_bytes(b"no database" * 500)
    assert main(["inspect", ATTACK]) == 1
    assert "learned corrections are ignored" in capsys.readouterr().err


def test_the_explanation_is_for_people(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "%3Cscript%3Ealert(1)%3C/script%3E"]) == 1
    out = capsys.readouterr().out
    assert "decoded: <script>alert(1)</script>" in out
    assert main(["inspect", "%3Cscript%3Ealert(1)%3C/script%3E:bug:[red]"]) == 1
    assert "decoded: <script>alert(1)</script>:bug:[red]" in capsys.readouterr().out
    assert "location: characters 0 to" in out and "model features: " in out


def test_scan_lets_pass_what_the_policy_lets_pass(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        resources.files("gatewright").joinpath("policy.toml").read_text("utf-8")
        + """
[[inspection.exclusions]]
route = "/products"
part = "query"
field = "$.q"
threats = ["sql_injection"]
reason = "a search that is bound"
author = "anna"
until = 9000-01-01
"""
    )
    monkeypatch.setenv("GATEWRIGHT_POLICY_FILE", str(policy))
    log = tmp_path / "access.log"
    log.write_text(BAD + BAD.replace("/products", "/other") + GOOD)
    told = command("scan", str(log), code=1)
    assert (told["blocked"], told["let_pass"], told["top_paths"]) == (1, 1, {"/other": 1})
    assert main(["scan", str(log)]) == 1
    assert "1 requests with findings are allowed" in capsys.readouterr().out


# --- train ------------------------------------------------------------------------------------------------------


def test_training_gives_the_same_file_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "id": str(number)} for number, row in enumerate(ROWS[:4] * 25)]
    corpus = _write(tmp_path / "rows.jsonl", rows)
    told = []
    for name in ("one", "two"):
        command = ["model", "train", "--corpus", str(corpus), "--out", str(tmp_path / name), "--json"]
        assert main(command) == 0, capsys.readouterr().err
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["sha256"] == told[1]["sha256"]
    assert told[0]["rows"] == 100
    assert (tmp_path / "one").stat().st_size == told[0]["bytes"] > 0


def test_training_without_rows_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "train", "--corpus", str(tmp_path), "--out", str(tmp_path / "model")]) == 2
    assert "no rows" in capsys.readouterr().err
