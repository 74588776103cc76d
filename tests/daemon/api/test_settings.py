"""``/slmreg/settings``, and that what stands between requests and handlers follows the settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from daemon.app import create_app
from daemon.config.layers import load_effective
from daemon.config.present import PresentSettings
from daemon.paths import Paths
from daemon.settings import Settings
from tests.daemon.api.guarded import COMMAND_LINE_KEY, HOST, JSON, call, refused, start_and_stop
from tests.fakes import FakeLauncher

OWNER = {"authorization": f"Bearer {COMMAND_LINE_KEY}"}


class Bench:
    def __init__(self, home: Path) -> None:
        environment = {"SLMREG_HOME": str(home), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
        paths = Paths.from_environment(environment)
        self.file = paths.config
        home.mkdir()
        settings = PresentSettings(load_effective(paths, environment), lambda: load_effective(paths, environment))
        self.app: FastAPI = create_app(settings, paths, environment, FakeLauncher(), command_line_key=COMMAND_LINE_KEY)

    def rows(self) -> dict[str, Any]:
        return {row["key"]: row for row in self.get()["data"]}

    def get(self) -> Any:
        return call(self.app, "GET", "/slmreg/settings", {**HOST, **OWNER}).json()

    def says(self, text: str) -> Any:
        """What a reload answers, where that is what is in the file."""
        self.file.write_text(text, encoding="utf-8")
        return call(self.app, "POST", "/slmreg/settings/reload", {**HOST, **OWNER})

    def ask(self, body: Any = None, **headers: str) -> tuple[int, str]:
        """What a chat is refused with."""
        asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **(body or {})}
        answer = call(self.app, "POST", "/v1/chat/completions", {**JSON, **headers}, json.dumps(asked))
        return refused(answer)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "home")
    yield made
    asyncio.run(start_and_stop(made.app))


def test_every_setting_is_told_with_its_origin_and_when_a_change_counts(bench: Bench) -> None:
    told = bench.get()
    assert (told["path"], told["problem"]) == (str(bench.file), None)
    rows = bench.rows()
    assert list(rows) == list(Settings.model_fields)
    assert rows["port"] == {
        "key": "port",
        "value": 7567,
        "default": 7567,
        "origin": "default",
        "where": None,
        "takes_effect": "restart",
        "needs_restart": True,
        "description": Settings.model_fields["port"].description,
    }


def test_a_reload_says_what_counts_now_later_and_after_a_restart(bench: Bench) -> None:
    answer = bench.says('max_queue = 5\nthreads = 2\nport = 1\nkeep_alive = -1\n[models."phi*"]\nkeep_alive = "1m"\n')
    assert answer.json() == {
        "changed": ["max_queue", "keep_alive"],
        "changed_for_loads": ["threads", "models"],
        "need_restart": ["port"],
    }
    rows = bench.rows()
    assert (rows["port"]["value"], rows["port"]["waiting"], rows["port"]["origin"]) == (7567, 1, "default")
    assert (rows["max_queue"]["value"], rows["max_queue"]["where"]) == (5, f"{bench.file}:1")
    assert (rows["keep_alive"]["value"], rows["models"]["value"]) == (-1, {"phi*": {"keep_alive": 60}})


def test_a_wrong_file_is_refused_by_line_and_key_and_the_old_settings_stay(bench: Bench) -> None:
    bench.says("max_messages = 5\n")
    answer = bench.says("\nmax_messages = 'x'\n")
    assert refused(answer) == (409, "invalid_settings")
    assert "config.toml:2: max_messages = 'x'" in answer.json()["error"]["message"]
    assert bench.rows()["max_messages"]["value"] == 5
    assert "config.toml:2" in bench.get()["problem"]
    assert bench.ask({"messages": [{"role": "user", "content": "x"}] * 6})[0] == 400
    assert bench.says("").json()["changed"] == ["max_messages"]
    assert bench.get()["problem"] is None


@pytest.mark.parametrize(
    ("setting", "body", "headers", "expected"),
    [
        ("max_messages = 1", {"messages": [{"role": "user", "content": "x"}] * 2}, {}, (400, "invalid_request")),
        ("max_choices = 1", {"n": 2}, {}, (400, "invalid_request")),
        ("max_answer_tokens = 5", {"max_tokens": 6}, {}, (400, "invalid_request")),
        ("max_body_bytes = 1024", {"user": "x" * 2000}, {}, (413, "body_too_large")),
        ("max_json_depth = 8", {"metadata": {"a": [[[[[[[[1]]]]]]]]}}, {}, (400, "invalid_json")),
        ("max_json_items = 100", {"stop": [[]] * 150}, {}, (400, "invalid_json")),
        ("require_key = true", {}, {}, (401, "invalid_api_key")),
    ],
)
def test_limits_of_requests_count_from_the_next_request_on(
    bench: Bench, setting: str, body: Any, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert bench.ask(body, **headers) != expected
    assert bench.says(setting).status_code == 200
    assert bench.ask(body, **headers) == expected


@pytest.mark.parametrize(
    ("setting", "headers", "code"),
    [
        ('allowed_hosts = ["mine.local"]', {"host": "mine.local"}, "host_not_allowed"),
        ('allowed_origins = ["https://a.example"]', {"origin": "https://a.example"}, "origin_not_allowed"),
    ],
)
def test_names_that_are_allowed_are_let_in_from_then_on_and_only_then(
    bench: Bench, setting: str, headers: dict[str, str], code: str
) -> None:
    assert bench.ask(**headers) == (403, code)
    bench.says(setting)
    assert bench.ask(**headers)[1] != code
    bench.says("")
    assert bench.ask(**headers) == (403, code)
