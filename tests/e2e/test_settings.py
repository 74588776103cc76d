"""One daemon whose config.toml changes while it runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.background import background_daemon
from registry.store import Registry
from tests.e2e.conftest import Home, Served, put, wait_for

START = "warm_tasks = []\nsettle_s = 0.3\nkeep_alive = -1\n"
HI = {"model": "one", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


class Bench:
    """A daemon without any settings in its environment, and ``slmreg`` in this process, which is faster."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.file = home.path / "config.toml"
        self.says()
        given = {key: value for key, value in home.environment.items() if not key.startswith("SLMREG_")}
        places = ("SLMREG_HOME", "SLMREG_FOUNDRY_CACHES", "SLMREG_HF_CACHE")
        self.environment = given | {key: home.environment[key] for key in places}
        self.served = Served(home.stack.enter_context(background_daemon(self.environment, home.log)), home)

    def says(self, text: str = "") -> None:
        """The file from now on, as an editor would replace it."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(START + text, encoding="utf-8")
        fresh.replace(self.file)

    def slmreg(self, *arguments: str) -> Result:
        unset = {key: None for key in os.environ if key.startswith("SLMREG_")}
        done = CliRunner().invoke(main, arguments, env={**unset, **self.environment})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    def setting(self, key: str) -> Any:
        return next(row for row in self.served.get("/slmreg/settings")["data"] if row["key"] == key)

    def is_read(self, key: str, value: Any) -> None:
        wait_for(lambda: self.setting(key)["value"] == value, f"{key} to be {value}")

    def reload(self) -> httpx.Response:
        return httpx.post(f"{self.served.url}/slmreg/settings/reload", timeout=30)

    def starts_anew(self) -> None:
        """With nothing but START, and nothing loaded."""
        self.says()
        assert self.reload().status_code == 200
        for model_id in self.served.sessions():
            self.served.post("/slmreg/unload", {"model": model_id})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("settings")
    put(tiny, root / "models" / "one")
    put(tiny, root / "models" / "two")
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    with ExitStack() as stack:
        yield Bench(Home(root / "home", root / "models", stack))


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.starts_anew()
    return shared


def test_a_changed_file_is_taken_up_by_itself_and_a_wrong_one_changes_nothing(bench: Bench) -> None:
    bench.says('policy = "fast"\n')
    bench.is_read("policy", "fast")
    assert bench.setting("policy")["where"] == f"{bench.file}:4"
    bench.says('policy = "fast"\nmax_queue = "x"\n')
    problem = wait_for(lambda: bench.served.get("/slmreg/settings")["problem"], "the mistake to be noticed")
    assert f"{bench.file}:5: max_queue = 'x' is not usable" in problem
    assert bench.setting("policy")["value"] == "fast"
    assert bench.served.post("/v1/chat/completions", HI).status_code == 200
    refused = bench.reload()
    assert (refused.status_code, "config.toml:5: max_queue" in refused.json()["error"]["message"]) == (409, True)
    bench.says()
    bench.is_read("policy", "balanced")


def test_models_have_settings_of_their_own_when_they_are_loaded_next(bench: Bench) -> None:
    assert bench.served.post("/slmreg/load", {"model": "one"}).status_code == 200
    before = bench.served.sessions()["one:0"]
    done = bench.slmreg("config", "set", "models.one*.context_tokens", "512")
    assert "for models that are loaded from now on" in done.stderr
    assert "loaded from now on" in bench.slmreg("config", "set", "models.one*.threads", "1").stderr
    assert "It counts from now on" in bench.slmreg("config", "set", "models.one*.keep_alive", "1h").stderr
    assert bench.served.sessions()["one:0"]["expires_s"] is not None
    assert bench.served.sessions()["one:0"]["pid"] == before["pid"]  # nobody was cut off
    bench.served.post("/slmreg/unload", {"model": "one"})
    for model in ("one", "two"):
        bench.served.post("/slmreg/load", {"model": model})
    one, two = (bench.served.sessions()[model_id] for model_id in ("one:0", "two:0"))
    assert (one["context_tokens"], one["threads"]) == (512, 1)
    assert 3000 < one["expires_s"] <= 3600
    assert two["context_tokens"] == before["context_tokens"] > 512
    assert two["expires_s"] is None
    assert '[models."one*"] context_tokens = 512, threads = 1, keep_alive = 3600' in bench.slmreg("show", "one").stdout
    assert json.loads(bench.slmreg("show", "two", "--json").stdout)["override"] is None


def test_what_is_set_counts_at_once_and_what_takes_a_restart_is_said(bench: Bench) -> None:
    bench.served.post("/slmreg/load", {"model": "one"})
    assert bench.served.sessions()["one:0"]["expires_s"] is None
    assert "from now on" in bench.slmreg("config", "set", "keep_alive", "0").stderr
    wait_for(lambda: "one:0" not in bench.served.sessions(), "the idle model to go")
    assert "started again" in bench.slmreg("config", "set", "host", "127.0.0.2").stderr
    host = bench.setting("host")
    assert (host["value"], host["waiting"], host["origin"]) == ("127.0.0.1", "127.0.0.2", "default")
    assert "host = 127.0.0.2 counts when the daemon is started again" in bench.slmreg("config", "show").stderr
    assert "--port beats it" in bench.slmreg("config", "set", "port", "1").stderr
    assert json.loads(bench.slmreg("config", "get", "keep_alive", "--json").stdout)["value"] == 0


def test_the_choice_the_warm_set_and_the_log_follow(bench: Bench) -> None:
    first = bench.served.post("/slmreg/select", {"task": "chat"}).json()["chosen"]
    (other,) = {"one:0", "two:0"} - {first}
    assert "from now on" in bench.slmreg("config", "set", "deny", first).stderr
    assert bench.served.post("/slmreg/select", {"task": "chat"}).json()["chosen"] == other
    bench.served.post("/slmreg/load", {"model": other})  # what was unloaded by name is not warm before somebody asks
    bench.slmreg("config", "set", "warm_tasks", "chat")
    wait_for(lambda: bench.served.sessions().get(other, {}).get("warm_for") == ["chat"], f"{other} to be warm")
    bench.slmreg("config", "set", "warm_tasks", "none")
    wait_for(lambda: bench.served.sessions()[other]["warm_for"] == [], f"{other} to be warm no more")
    bench.slmreg("config", "set", "log_level", "error")
    written = bench.home.log.read_text(encoding="utf-8")
    bench.served.post("/slmreg/unload", {"model": other})
    bench.served.post("/slmreg/load", {"model": first})
    assert " INFO " not in bench.home.log.read_text(encoding="utf-8").removeprefix(written)


def test_connections_are_bounded_as_the_settings_say_by_now(bench: Bench) -> None:
    headers = {f"x-{number}": "y" for number in range(30)}
    assert httpx.get(f"{bench.served.url}/healthz", headers=headers).status_code == 200
    bench.slmreg("config", "set", "max_headers", "16")
    assert httpx.get(f"{bench.served.url}/healthz", headers=headers).status_code == 431


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
def test_a_hangup_reads_the_file_and_stops_nothing(bench: Bench) -> None:
    bench.says("max_selections = 7\n")
    os.kill(bench.served.pid, signal.SIGHUP)
    bench.is_read("max_selections", 7)
    bench.says("max_selections = 'x'\n")
    os.kill(bench.served.pid, signal.SIGHUP)
    wait_for(lambda: bench.served.get("/slmreg/settings")["problem"], "the mistake to be noticed")
    assert bench.setting("max_selections")["value"] == 7
