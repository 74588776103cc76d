"""What a real daemon with real models tells of itself: its log, and its metrics."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Home, Served, put, start_with_talker, wait_for
from tests.e2e.test_cli import as_json, slmreg
from tests.e2e.test_demo_model import WEATHER_TOOL

CANARY = "Kanarienvogel"
SECRET = "sk-slmreg-never-to-be-seen"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    """It logs all that it can, into small files."""
    root = tmp_path_factory.mktemp("observed")
    with ExitStack() as stack:
        yield start_with_talker(root, tiny, stack, log_level="debug", log_file_bytes=20_000, log_files=100)


def chat(served: Served, **fields: Any) -> httpx.Response:
    body = {"model": "talker", "messages": [{"role": "user", "content": "What is slmreg?"}], "temperature": 0, **fields}
    return served.post("/v1/chat/completions", body)


def metrics(served: Served) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels, these in the order of their names."""
    text = httpx.get(f"{served.url}/metrics", timeout=30).raise_for_status().text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def log_text(home: Home) -> str:
    """All of it, of the console and of all files."""
    return "".join(path.read_text() for path in (home.log, *home.path.glob("logs/*")))


def test_counts_agree_with_what_was_asked(served: Served) -> None:
    chat(served).raise_for_status()
    before = metrics(served)
    answers = [chat(served, model=model).raise_for_status().json() for model in ("talker", "talker", "auto:chat")]
    streamed = served.openai.chat.completions.create(
        model="talker",
        messages=[{"role": "user", "content": "What is slmreg?"}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    *_, last = streamed
    assert chat(served, model="no-such-model").status_code == 404
    chosen = answers[2]["model"]
    usages = [answer["usage"] for answer in answers if answer["model"] == "talker:0"] + [last.usage.model_dump()]

    def grown(name: str, *labels: str) -> float:
        return after[name, *labels] - before.get((name, *labels), 0.0)

    # A stream has been read before what follows it is done.
    after: dict[tuple[str, ...], float] = wait_for(
        lambda: (found := metrics(served))["slmreg_requests_in_flight",] == 1 and found, "all to end"
    )
    said = sum(usage["completion_tokens"] for usage in usages)
    assert grown("slmreg_answers_total", "talker:0", "stop") == len(usages)
    assert grown("slmreg_prompt_tokens_total", "talker:0") == sum(usage["prompt_tokens"] for usage in usages)
    assert grown("slmreg_completion_tokens_total", "talker:0") == said
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert grown("slmreg_cached_prompt_tokens_total", "talker:0") == sum(cached)
    assert grown("slmreg_time_to_first_token_seconds_count", "talker:0") == len(usages)
    # The first token has none before it, and an end of an answer no text.
    between = grown("slmreg_inter_token_seconds_count", "talker:0")
    assert said - 5 * len(usages) <= between <= said - len(usages)
    assert grown("slmreg_selections_total", chosen, "chat") == 1
    assert grown("slmreg_requests_total", "POST", "/v1/chat/completions", "2xx") == 4
    assert grown("slmreg_requests_total", "POST", "/v1/chat/completions", "4xx") == 1
    assert after["slmreg_sessions", "ready"] >= 1
    assert after["slmreg_loads_total", "talker:0"] == 1
    (session,) = [each for each in served.get("/slmreg/sessions") if each["id"] == "talker:0"]
    assert after["slmreg_model_memory_bytes", "talker:0"] == pytest.approx(session["resident_bytes"], rel=0.2)
    assert after["slmreg_models", "ready"] == len(served.get("/slmreg/models")["data"])
    assert after["slmreg_log_lines_dropped_total", "file"] == 0


def test_a_request_is_found_in_the_log_by_its_id_with_model_status_and_time(served: Served) -> None:
    headers = {"x-request-id": "find-me"}
    body = {"model": "talker", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=headers, timeout=60).raise_for_status()

    def lines() -> list[dict[str, Any]]:
        told = slmreg(served.home, "logs", "--request", "find-me", "--json").stdout
        return [json.loads(line) for line in told.splitlines()]

    found = wait_for(lambda: [line for line in lines() if line["logger"] == "slmreg.access"], "the request in the log")
    (access,) = found
    assert (access["route"], access["status"], access["model"]) == ("/v1/chat/completions", 200, "talker:0")
    assert access["duration_ms"] > 0
    assert any(line["message"].startswith("answer.finished") and line["model"] == "talker:0" for line in lines())


def test_at_debug_no_word_of_a_prompt_an_argument_or_a_key_is_in_any_log(served: Served) -> None:
    tool = json.loads(json.dumps(WEATHER_TOOL).replace("city", f"city_{CANARY}"))
    call = {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": f'{{"x": "{CANARY}"}}'}}
    talk = [
        {"role": "system", "content": f"You are {CANARY}."},
        {"role": "user", "content": f"{CANARY}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": f"{CANARY}!"},
    ]
    one = [{"role": "user", "content": CANARY}]
    headers = {"authorization": f"Bearer {SECRET}", "x-api-key": SECRET}
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        for path, body in (
            ("/v1/chat/completions", {"messages": talk, "tools": [tool], "max_tokens": 5}),
            ("/v1/chat/completions", {"messages": one, "stop": CANARY, "user": CANARY, "max_tokens": 5}),
            ("/v1/chat/completions", {"messages": one, "guided_regex": f"({CANARY}|a)", "max_tokens": 5}),
            ("/v1/chat/completions", {"messages": one, "guided_grammar": f'start: "{CANARY}" nowhere'}),
            ("/v1/chat/completions", {"messages": one, "response_format": {"type": CANARY}}),
            ("/v1/chat/completions", {"messages": [{"role": CANARY, "content": CANARY}]}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": CANARY * 5000}]}),
            ("/v1/chat/completions", {"messages": one, "stream": True, "max_tokens": 5}),
            ("/v1/completions", {"prompt": CANARY, "max_tokens": 5}),
            ("/v1/responses", {"input": CANARY, "instructions": CANARY, "max_output_tokens": 5}),
            ("/v1/messages", {"messages": one, "system": CANARY, "max_tokens": 5}),
            ("/v1/embeddings", {"input": CANARY}),
            ("/api/chat", {"messages": one, "options": {"num_predict": 5}}),
            ("/api/generate", {"prompt": CANARY, "system": CANARY, "options": {"num_predict": 5}}),
            ("/slmreg/presets", {"name": "bird", "from": "talker", "system": CANARY}),
            (f"/v1/chat/completions?q={CANARY}", {"messages": one, "max_tokens": 1}),
            (f"/{CANARY}", {}),
        ):
            asked = {"model": "talker", **body} if path != "/slmreg/presets" else body
            assert client.post(path, json=asked).status_code < 500
        client.post("/v1/chat/completions", content=f'{{"{CANARY}', headers={"content-type": "application/json"})
        client.request("DELETE", "/slmreg/presets/bird")
        client.get("/healthz", headers={"x-request-id": "the-last-one"}).raise_for_status()
    wait_for(lambda: "the-last-one" in log_text(served.home), "the log to be written")
    text = log_text(served.home)
    assert " DEBUG " in text
    assert CANARY not in text
    assert SECRET not in text


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_following_goes_on_across_files_and_ends_with_ctrl_c(served: Served) -> None:
    command = [sys.executable, "-m", "daemon.cli", "logs", "-f", "-n", "1", "--json"]
    follower = subprocess.Popen(command, env=served.home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout is not None
    with follower:
        first = json.loads(follower.stdout.readline())
        asked = [f"follow-{number}" for number in range(250)]  # more than two files of lines
        with httpx.Client(base_url=served.url) as client:
            for each in asked:
                client.get("/readyz", headers={"x-request-id": each})
        seen: list[str] = []
        while not seen or seen[-1] != asked[-1]:
            line = json.loads(follower.stdout.readline())
            if str(line.get("request_id", "")).startswith("follow-"):
                seen.append(line["request_id"])
        follower.send_signal(signal.SIGINT)
        _, told = follower.communicate(timeout=30)
    assert seen == asked
    assert first["time"]
    assert (follower.returncode, told) == (0, b"")


def test_log_files_are_small_and_for_their_owner_alone(served: Served) -> None:
    files = list(served.home.path.glob("logs/*"))
    assert len(files) > 2
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_size <= 20_000


def test_levels_change_while_the_daemon_runs(served: Served) -> None:
    changed = as_json(served.home, "logs", "--set-level", "access=error", "--set-level", "daemon.pool=info")
    assert changed == {"slmreg": "debug", "slmreg.access": "error", "slmreg.pool": "info"}
    served.get("/slmreg/pins")
    undone = slmreg(served.home, "logs", "--set-level", "access=default", "--set-level", "pool=default")
    assert undone.stdout.split() == ["LOGGER", "LEVEL", "slmreg", "debug"]
    wrong = slmreg(served.home, "logs", "--set-level", "slmreg.pol=debug")
    assert (wrong.returncode, "Did you mean slmreg.pool" in wrong.stderr) == (1, True)


def test_the_words_of_a_process_that_dies_are_in_the_log_with_its_model(served: Served) -> None:
    chat(served, model="tiny-random", max_tokens=1).raise_for_status()
    pid = served.sessions()["tiny-random:0"]["pid"]
    os.kill(pid, signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    wait_for(lambda: metrics(served).get(("slmreg_session_failures_total", "other", "tiny-random:0")), "its end")
    chat(served, model="tiny-random", max_tokens=1).raise_for_status()
    assert metrics(served)["slmreg_worker_restarts_total", "tiny-random:0"] == 1
    wait_for(lambda: f"worker.died model=tiny-random:0 pid={pid}" in log_text(served.home), "its end in the log")


def test_a_log_that_cannot_be_written_does_not_keep_the_daemon_from_serving(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    home.path.joinpath("logs").write_text("this is no folder")
    served = home.start()
    assert chat(served, model="tiny", max_tokens=1).status_code == 200
    assert wait_for(lambda: metrics(served)["slmreg_log_lines_dropped_total", "file"] > 1, "lines to be lost")
    assert home.log.read_text().count("logs.not_written") == 1
    home.path.joinpath("logs").unlink()
    served.get("/slmreg/pins")
    wait_for(lambda: "logs.written_again" in home.log.read_text(), "the file to be written again")
    assert "slmreg.access" in slmreg(home, "logs").stdout
