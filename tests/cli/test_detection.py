"""evaluate, inspect and scan."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gatewright.cli.main import main

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
        (b'{"payload": "x"}\n', ":1: the field 'label' is missing"),
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


def test_damaged_gzip_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"payload": "x", "label": 0}\n' * 1000)[:-20])
    assert main(["evaluate", str(path)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_nothing_to_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(_write(tmp_path / "rows.jsonl", [])), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0


# --- inspect ----------------------------------------------------------------------------------------------------


def test_inspect_exits_1_on_an_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", ATTACK]) == 1
    assert "sql_injection" in capsys.readouterr().out
    assert main(["inspect", HARMLESS]) == 0
    assert "harmless" in capsys.readouterr().out


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
