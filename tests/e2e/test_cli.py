"""The command line as a person or a script uses it: with and without a daemon, result on stdout, talk on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Home, put

MODEL_KEYS = {
    *("id", "name", "version", "alias", "tasks", "family", "parameters", "precision", "execution_provider", "device"),
    *("size_bytes", "context_tokens", "path", "source", "status", "problems", "loaded", "pinned_for", "measured"),
}
SELECT_KEYS = {
    *("task", "chosen", "device", "context_tokens", "ranking", "rejected", "pinned", "hardware"),
    *("policy", "reason", "fallback", "would_change"),
}
RANKING_KEYS = {
    *("id", "utility", "terms", "need_bytes", "available_bytes", "tokens_per_second", "ttft_s", "evidence"),
    *("thinking", "answer_s", "speed_band", "difference"),
}
SESSION_KEYS = {
    *("id", "state", "pid", "resident_bytes", "active", "queued", "device", "threads", "engine"),
    *("cores", "idle_s", "expires_s", "pinned", "template_source", "warm_for", "failure"),
}


def slmreg(home: Home, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", *arguments]
    done = subprocess.run(
        command, env=home.environment, capture_output=True, text=True, timeout=60, check=False, input=text or ""
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def as_json(home: Home, *arguments: str, code: int = 0) -> Any:
    done = slmreg(home, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=["without a daemon", "with a daemon"])
def either(request: pytest.FixtureRequest, home: Home, tiny: Path) -> Home:
    put(tiny, home.models / "tiny")
    home.models.joinpath("broken").mkdir()
    home.models.joinpath("broken", "genai_config.json").write_text("{", encoding="utf-8")
    if request.param == "with a daemon":
        home.start()
    return home


def test_list_show_scan_and_roots(either: Home, tiny: Path) -> None:
    models = {model["id"]: model for model in as_json(either, "list")}
    assert set(models["tiny:0"]) >= MODEL_KEYS
    assert models["tiny:0"]["path"] == str(either.models / "tiny")
    assert as_json(either, "show", "tiny").items() >= models["tiny:0"].items()
    told = slmreg(either, "list")
    assert "tiny:0" in told.stdout
    assert str(either.models / "broken") in told.stderr
    put(tiny, either.models / "second")
    changes = as_json(either, "scan")
    assert changes["added"] + changes["unchanged"] == 3
    assert changes["missing"] == 0
    assert [set(problem) >= {"path", "code", "message"} for problem in changes["problems"]] == [True]
    roots = {root["path"]: root for root in as_json(either, "roots")}
    assert roots[str(either.models)]["models"] == 2
    assert roots == {root["path"]: root for root in as_json(either, "roots", "list")}


def test_list_finds_sorts_and_cuts(either: Home, tiny: Path) -> None:
    put(tiny, either.models / "Other")
    (either.models / "Other" / "notes.txt").write_bytes(bytes(1000))
    as_json(either, "scan")
    as_json(either, "pin", "chat", "tiny:0")

    def ids(*arguments: str) -> list[str]:
        return [model["id"] for model in as_json(either, "list", "--source", "folder", *arguments)]

    assert ids("--sort", "-size_bytes") == ["Other:0", "tiny:0"]
    assert ids("--sort", "size_bytes", "--limit", "1") == ["tiny:0"]
    assert ids("--name", "OTH*") == ["Other:0"]
    assert ids("--pinned") == ["tiny:0"]
    assert ids("--no-pinned", "--no-loaded") == ["Other:0"]
    assert ids("--loaded") == ids("--execution-provider", "cuda") == []
    told = slmreg(either, "list", "--source", "folder", "--limit", "1")
    assert (told.stdout.count(":0"), "1 more" in told.stderr) == (1, True)


def test_roots_can_be_added_and_removed(either: Home, tiny: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    put(tiny, elsewhere / "far")
    assert as_json(either, "roots", "add", str(elsewhere))["added"] >= 1
    assert as_json(either, "show", "far")["status"] == "ready"
    assert slmreg(either, "roots", "remove", str(elsewhere)).returncode == 0
    assert "far:0" not in {model["id"] for model in as_json(either, "list")}
    missing = slmreg(either, "roots", "add", str(tmp_path / "nowhere"))
    assert (missing.returncode, "nowhere" in missing.stderr, missing.stdout) == (1, True, "")


def test_select_pin_and_unpin(either: Home) -> None:
    selection = as_json(either, "select", "chat")
    assert set(selection) >= SELECT_KEYS
    assert (selection["chosen"], selection["pinned"]) == ("tiny:0", False)
    assert all(set(candidate) >= RANKING_KEYS for candidate in selection["ranking"])
    assert slmreg(either, "select", "chat").stdout.splitlines()[-1] == "tiny:0"
    explained = slmreg(either, "select", "chat", "--explain")
    assert "UTILITY" in explained.stdout
    assert explained.stdout.splitlines()[-1] == "tiny:0"

    pin = as_json(either, "pin", "chat", "tiny")
    assert pin.items() >= {"task": "chat", "model": "tiny:0", "waiting": False, "fallback": "error"}.items()
    assert as_json(either, "select", "chat")["pinned"] is True
    assert as_json(either, "pins") == [pin]
    assert as_json(either, "show", "tiny")["pinned_for"] == ["chat"]
    assert [slmreg(either, "unpin", "chat").returncode for _ in range(2)] == [0, 0]
    assert as_json(either, "pins") == []


def test_a_choice_that_cannot_be_made_is_exit_1_with_reasons(either: Home) -> None:
    nothing = as_json(either, "select", "vision", code=1)
    assert nothing["chosen"] is None
    assert "tiny:0" in {rejected["id"] for rejected in nothing["rejected"]}
    told = slmreg(either, "select", "vision")
    assert (told.returncode, "tiny:0" in told.stdout) == (1, True)
    unknown = slmreg(either, "select", "cooking")
    assert (unknown.returncode, "transcription" in unknown.stderr) == (1, True)
    missing = slmreg(either, "pin", "chat", "tini")
    assert (missing.returncode, "tiny" in missing.stderr) == (1, True)
    incapable = slmreg(either, "pin", "vision", "tiny")
    assert (incapable.returncode, "cannot do vision" in incapable.stderr) == (1, True)
    unknown_model = slmreg(either, "show", "tini")
    assert (unknown_model.returncode, "Did you mean tiny" in unknown_model.stderr) == (1, True)


def test_hw_describes_the_machine(either: Home) -> None:
    hardware = as_json(either, "hw")
    assert set(hardware["cpu"]) >= {"name", "physical_cores", "logical_cores", "usable_cores", "flags"}
    assert set(hardware["memory"]) >= {"total_bytes", "available_bytes", "limit_bytes"}
    assert "cpu" in hardware["execution_providers"]
    assert set(hardware["probes"]) == {"bandwidth_bytes_per_s", "flops"}
    assert hardware["cpu"]["name"] in slmreg(either, "hw").stdout


def test_sessions_of_a_running_daemon(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    status = as_json(home, "status")
    assert (status["running"], status["url"], status["pid"]) == (True, served.url, served.pid)
    assert served.url in slmreg(home, "status").stdout
    assert as_json(home, "ps") == []
    loaded = as_json(home, "load", "tiny")
    assert (loaded["id"], loaded["state"]) == ("tiny:0", "ready")
    (session,) = as_json(home, "ps")
    assert set(session) >= SESSION_KEYS
    assert session["resident_bytes"] > 1_000_000
    assert as_json(home, "show", "tiny")["loaded"] is True
    assert "tiny:0" in slmreg(home, "ps").stdout
    assert [as_json(home, "unload", "tiny")["unloaded"] for _ in range(2)] == [True, False]
    assert as_json(home, "ps") == []
    assert slmreg(home, "load", "nothing").returncode == 1


def test_how_long_a_model_stays_can_be_said_when_it_is_loaded(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    home.start()
    loaded = as_json(home, "load", "tiny", "--keep-alive", "1h")
    assert (loaded["pinned"], 3500 < loaded["expires_s"] <= 3600) == (False, True)
    assert "in 60 min" in slmreg(home, "ps").stdout
    pinned = as_json(home, "load", "tiny", "--pin-loaded")
    assert (pinned["pid"], pinned["pinned"], pinned["expires_s"]) == (loaded["pid"], True, None)
    assert "never" in slmreg(home, "ps").stdout
    assert as_json(home, "unload", "tiny", "--now")["unloaded"] is True
    assert as_json(home, "ps") == []
    assert slmreg(home, "load", "tiny", "--keep-alive", "soon").returncode == 2


def test_unload_now_does_not_wait_for_running_answers(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    stream = served.openai.chat.completions.create(
        model="slow", messages=[{"role": "user", "content": "Go on"}], max_tokens=8000, stream=True
    )
    with stream, pytest.raises(openai.APIError):
        for _ in range(3):
            next(stream)
        assert as_json(home, "unload", "slow", "--now")["unloaded"] is True
        for _chunk in stream:
            pass


def test_without_a_daemon_its_commands_say_how_to_start_one(home: Home) -> None:
    assert as_json(home, "status", code=1)["running"] is False
    for command in (["ps"], ["load", "x"], ["unload", "x"]):
        done = slmreg(home, *command)
        assert (done.returncode, "slmreg serve" in done.stderr) == (1, True)


def test_run_answers_with_a_daemon_and_starts_one_where_there_is_none(home: Home) -> None:
    alone = slmreg(home, "run", "auto", "What is slmreg?", "--temperature", "0")
    assert (alone.returncode, "slmreg" in alone.stdout) == (0, True), alone.stderr
    assert as_json(home, "status", code=1)["running"] is False
    home.start()
    assert slmreg(home, "run", "auto", "What is slmreg?", "--temperature", "0").stdout == alone.stdout
    piped = slmreg(home, "run", "auto", "--temperature", "0", text="What is slmreg?\n")
    assert piped.stdout == alone.stdout
    assert slmreg(home, "run", "auto", text="\n").returncode == 2
    unknown = slmreg(home, "run", "no-such-model", "Hi")
    assert (unknown.returncode, "no-such-model" in unknown.stderr) == (1, True)


def test_wrong_usage_is_exit_2(home: Home) -> None:
    for arguments in (["frobnicate"], ["select"], ["serve", "--port", "many"], ["list", "--no-such-flag"]):
        assert slmreg(home, *arguments).returncode == 2


def test_a_database_that_cannot_be_opened_is_one_clear_line(home: Home) -> None:
    for file in home.path.glob("registry.db*"):
        file.unlink()
    home.path.joinpath("registry.db").mkdir()
    done = slmreg(home, "list")
    assert (done.returncode, "registry.db" in done.stderr) == (1, True)


def test_an_empty_path_is_wrong_usage_and_not_the_current_folder(home: Home) -> None:
    for command in ("add", "remove"):
        done = slmreg(home, "roots", command, "")
        assert (done.returncode, "empty" in done.stderr) == (2, True)


def test_a_run_folder_that_cannot_be_written_is_one_clear_line(home: Home) -> None:
    home.path.joinpath("run").write_text("in the way", encoding="utf-8")
    done = slmreg(home, "serve", "--port", "0")
    assert (done.returncode, "daemon.lock cannot be written" in done.stderr) == (1, True)


def test_a_bad_setting_is_one_clear_line(home: Home) -> None:
    home.path.joinpath("config.toml").write_text("prot = 7000\n", encoding="utf-8")
    done = slmreg(home, "serve")
    assert (done.returncode, "Did you mean port" in done.stderr) == (1, True)


def test_the_first_list_indexes_what_is_there(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    assert {model["id"] for model in as_json(home, "list", "--task", "chat")} >= {"tiny:0"}
    only_demo = [model for model in as_json(home, "list") if model["demo"]]
    assert len(only_demo) == 1


def test_without_a_daemon_the_disk_is_looked_at_each_time(home: Home, tiny: Path) -> None:
    folder = put(tiny, home.models / "tiny")
    assert slmreg(home, "select", "chat").stdout == "tiny:0\n"
    folder.rename(home.models / "moved")
    assert slmreg(home, "select", "chat").stdout == "moved:0\n"
    assert "tiny:0" not in slmreg(home, "list").stdout
