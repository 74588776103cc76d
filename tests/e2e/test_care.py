"""verify, allow, import, export and doctor as a person or a script uses them, with and without a daemon."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from registry.store import Registry
from tests.e2e.conftest import Home, put, wait_for
from tests.e2e.test_cli import as_json, slmreg
from tests.native import compile_library

MODELS_JSON: list[dict[str, Any]] = [
    {"name": "tiny", "task": "chat", "min_ram_gb": 1, "notes": "ñ", "team": "edge"},
    {"name": "phi-4-mini", "task": "code", "min_ram_gb": 0.5},
    {"name": "tiny", "task": "summaries"},
]
# As ``slmreg verify``, but not behind every other process: on a busy machine it would take minutes.
EAGER_VERIFY = """
import selector.hardware.priority
selector.hardware.priority.step_back = lambda: None
from daemon.cli import main
main(["verify"])
"""


@pytest.fixture(params=["without a daemon", "with a daemon"])
def either(request: pytest.FixtureRequest, home: Home, tiny: Path) -> Home:
    put(tiny, home.models / "tiny")
    if request.param == "with a daemon":
        home.start()
    return home


def flip_last_bit(file: Path) -> None:
    """As a failing disk does: another byte, the same time."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_damaged_model_is_not_used_until_it_is_whole(either: Home) -> None:
    tokenizer = either.models / "tiny" / "tokenizer_config.json"
    (fine,) = as_json(either, "verify", "tiny")
    assert (fine["ok"], fine["id"], len(fine["digests"])) == (True, "tiny:0", 5)
    assert as_json(either, "show", "tiny")["verified_at"] == fine["verified_at"]
    flip_last_bit(tokenizer)
    told = slmreg(either, "verify")
    assert told.returncode == 1
    assert "damaged" in told.stdout
    assert "tokenizer_config.json has other content" in told.stderr
    broken = as_json(either, "show", "tiny")
    assert broken["status"] == "invalid"
    assert [problem["code"] for problem in broken["problems"]][-1:] == ["content_damaged"]
    assert as_json(either, "select", "chat")["chosen"] == "slmreg-demo:1"
    as_json(either, "scan")
    assert as_json(either, "show", "tiny")["status"] == "invalid"
    flip_last_bit(tokenizer)
    assert [result["ok"] for result in as_json(either, "verify")] == [True, True]
    assert as_json(either, "show", "tiny")["status"] == "ready"


def test_what_is_not_there_cannot_be_verified(either: Home) -> None:
    told = slmreg(either, "verify", "nothing")
    assert (told.returncode, "nothing" in told.stderr) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_an_interrupt_keeps_what_is_checked(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "a-small")
    put(tiny, home.models / "z-huge")
    with (home.models / "z-huge" / "notes.bin").open("wb") as file:
        file.truncate(200 * 10**9)  # takes no space, and minutes to read
    process = subprocess.Popen(
        [sys.executable, "-c", EAGER_VERIFY],
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Registry.open(home.path / "registry.db") as registry:

        def is_at_the_last() -> bool:
            demo = registry.find("slmreg-demo")
            return demo is not None and demo.verified_s is not None

        try:
            wait_for(is_at_the_last, "the checks before the last", timeout_s=60)
            process.send_signal(signal.SIGINT)
            output, talk = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 1, talk
        assert "2 of 3 models are checked" in talk
        assert "Traceback" not in talk
        assert "a-small:0" in output
        assert registry.get("a-small").verified_s is not None
        assert registry.get("z-huge").verified_s is None


def test_a_teams_list_comes_in_and_goes_out(either: Home, tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(json.dumps(MODELS_JSON), encoding="utf-8-sig")
    imported = as_json(either, "import", str(file))
    assert imported["entries"] == imported["known"] == 3
    assert imported["pinned"] == [{"task": "chat", "model": "tiny:0"}]
    assert imported["waiting"] == [{"task": "code", "model": "phi-4-mini"}]
    assert {entry["code"] for entry in imported["unmatched"]} == {"model_not_found", "unknown_task"}
    assert as_json(either, "select", "chat")["pinned"]
    again = slmreg(either, "import", "-", "--no-pin", text=json.dumps(MODELS_JSON))
    assert (again.returncode, "3 are known" in again.stderr) == (0, True)

    out = tmp_path / "out" / "models.json"
    out.parent.mkdir()
    assert slmreg(either, "export", str(out)).returncode == 0
    assert [file.name for file in out.parent.iterdir()] == ["models.json"]
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert [entry["name"] for entry in entries] == ["tiny", "phi-4-mini", "tiny"]
    assert {key: entries[0][key] for key in MODELS_JSON[0]} == MODELS_JSON[0]
    assert entries[0]["slmreg"]["id"] == "tiny:0"
    assert json.loads(slmreg(either, "export", "-").stdout) == entries


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not valid JSON"),
        (b'[{"task": "chat"}]', "models.json has no name"),
        (b'[{"name": "a", "min_ram_gb": "8 GB"}]', "min_ram_gb in entry 1 (a)"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_cannot_be_understood_changes_nothing(
    home: Home, tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "models.json"
    if content is not None:
        file.write_bytes(content)
    told = slmreg(home, "import", str(file))
    assert (told.returncode, told.stdout) == (1, "")
    assert says in told.stderr
    with Registry.open(home.path / "registry.db") as registry:
        assert registry.hints() == ()


def test_a_list_that_windows_wrote_is_understood(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text(json.dumps(MODELS_JSON, ensure_ascii=False), encoding="utf-16")
    assert as_json(home, "import", str(file), "--no-pin")["entries"] == 3
    with Registry.open(home.path / "registry.db") as registry:
        assert registry.hints()[0].notes == "ñ"


def test_an_export_that_cannot_be_written_leaves_what_was_there(home: Home, tmp_path: Path) -> None:
    told = slmreg(home, "export", str(tmp_path))
    assert (told.returncode, "cannot be written" in told.stderr) == (1, True)
    assert slmreg(home, "export", str(tmp_path / "no" / "folder.json")).returncode == 1


@pytest.fixture
def with_library(home: Home, tiny: Path, tmp_path: Path) -> Path:
    """A model that brings native code along, which makes the file ``ran`` when it is run."""
    folder = put(tiny, home.models / "ops")
    compile_library(folder / "libops.so", tmp_path / "ran")
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["decoder"].setdefault("session_options", {})["custom_ops_library"] = "libops.so"
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_native_code_runs_only_once_it_is_allowed(home: Home, with_library: Path, tmp_path: Path) -> None:
    served = home.start()
    question = {"model": "ops:0", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}

    def status() -> Any:
        return served.get("/slmreg/models/ops:0")["status"]

    assert status() == "blocked"
    assert served.post("/v1/chat/completions", question).status_code == 409
    refused = slmreg(home, "allow", "ops", text="n\n")
    assert refused.returncode == 1
    assert "SHA-256" in refused.stderr
    assert (status(), (tmp_path / "ran").exists()) == ("blocked", False)

    allowed = as_json(home, "allow", "ops", "--yes")
    assert (allowed["allowed"], allowed["status"], len(allowed["sha256"])) == (True, "ready", 64)
    assert status() == "ready"
    answer = served.post("/v1/chat/completions", question)
    assert answer.status_code == 200, answer.text
    assert (tmp_path / "ran").exists()

    assert "SHA-256" not in slmreg(home, "allow", "ops").stderr  # once is enough

    with (with_library / "libops.so").open("ab") as library:
        library.write(b"changed")
    wait_for(lambda: status() == "blocked", "the changed library to be seen")
    assert as_json(home, "allow", "ops", "--yes")["status"] == "ready"
    undone = as_json(home, "allow", "ops", "--undo")
    assert (undone["allowed"], undone["status"], status()) == (False, "blocked", "blocked")
    assert served.post("/v1/chat/completions", question).status_code == 409


def test_a_model_without_native_code_needs_no_leave(either: Home) -> None:
    told = slmreg(either, "allow", "tiny", "--yes")
    assert (told.returncode, "nothing to allow" in told.stderr) == (1, True)


def any_port(home: Home) -> None:
    """Whoever runs the tests may have a daemon of their own, on the usual one."""
    (home.path / "config.toml").write_text("port = 0\n", encoding="utf-8")


def test_the_doctor_says_what_has_to_be_done(either: Home, tiny: Path) -> None:
    any_port(either)
    well = as_json(either, "doctor")
    assert well["ok"]
    found = {finding["subject"]: finding for finding in well["findings"]}
    assert {"database", "daemon", "disk", "versions", "root", "models", "verified"} <= set(found)
    assert {finding["level"] for finding in well["findings"]} <= {"ok", "note"}
    shown = slmreg(either, "doctor")
    assert (shown.returncode, "Nothing has to be done" in shown.stderr) == (0, True)

    put(tiny, either.models / "cut").joinpath("model.onnx").write_bytes(b"\x08")
    slmreg(either, "pin", "chat", "tiny")
    as_json(either, "scan")
    (either.models / "tiny").rename(either.models.parent / "away")
    as_json(either, "scan")
    ill = as_json(either, "doctor", code=1)
    levels = {finding["subject"]: finding["level"] for finding in ill["findings"]}
    assert (levels["graph_invalid"], levels["pin chat"], levels["missing"]) == ("problem", "problem", "note")


def test_the_doctor_also_sees_a_home_that_cannot_be_used(home: Home) -> None:
    (home.path / "config.toml").write_text("threads = 'many'", encoding="utf-8")
    ill = as_json(home, "doctor", code=1)
    assert [(f["level"], f["subject"]) for f in ill["findings"] if f["level"] == "problem"] == [
        ("problem", "invalid_settings")
    ]


def test_the_doctor_tells_of_a_damaged_registry_and_of_what_was_saved(home: Home, tiny: Path) -> None:
    any_port(home)
    put(tiny, home.models / "tiny")
    assert slmreg(home, "pin", "chat", "tiny").returncode == 0
    (home.path / "registry.db").write_bytes(b"not a database, whatever it was before" * 300)
    ill = {finding["subject"]: finding for finding in as_json(home, "doctor", code=1)["findings"]}
    assert ill["database"]["level"] == "problem"
    assert "1 pins" in ill["recovery"]["message"]
    well = {finding["subject"]: finding for finding in as_json(home, "doctor")["findings"]}
    assert (well["database"]["level"], well["damaged files"]["level"], well["pin chat"]["level"]) == (
        *("ok", "note", "ok"),
    )


def test_a_bundle_for_a_bug_report_holds_nothing_private(home: Home, tiny: Path, tmp_path: Path) -> None:
    put(tiny, home.models / "canary-model")
    put(tiny, home.models / "canary broken").joinpath("model.onnx").write_bytes(b"\x08")
    (home.path / "config.toml").write_text('deny = ["canary*"]\nallowed_hosts = ["canary.example"]\n', encoding="utf-8")
    (home.path / "logs").mkdir()
    line = {"time": "2026-11-27T09:14:04Z", "level": "info", "logger": "slmreg", "message": "prompt canary"}
    (home.path / "logs" / "slmreg.jsonl").write_text(f"{json.dumps(line)}\n", encoding="utf-8")
    secret = slmreg(home, "key", "create", "canary-key").stdout.strip()
    person = {"HOME": str(tmp_path / "canary home"), "USER": "canaryuser", "LOGNAME": "canaryuser"}
    bundle = tmp_path / "report.zip"
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "doctor", "--bundle", str(bundle)],
        env={**home.environment, **person},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, str(bundle) in done.stderr) == (1, True), done.stderr
    with zipfile.ZipFile(bundle) as opened:
        told = {name: opened.read(name).decode() for name in opened.namelist()}
    everything = "".join(told.values())
    for private in ("canary", secret, str(tmp_path), str(home.path)):
        assert private not in everything
    host = platform.node()
    assert host in ("", "localhost") or re.search(rf"\b{re.escape(host)}\b", everything) is None
    assert "graph_invalid" in told["doctor.json"]
    assert "onnxruntime-genai" in told["versions.json"]
    assert json.loads(told["log.txt"]) == {**line, "message": "..."}


def test_the_doctor_says_who_has_the_port(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (home.path / "config.toml").write_text(f"port = {port}\n", encoding="utf-8")
        ill = {finding["subject"]: finding for finding in as_json(home, "doctor", code=1)["findings"]}
    assert (ill["port"]["level"], f"127.0.0.1:{port} is taken" in ill["port"]["message"]) == ("problem", True)
