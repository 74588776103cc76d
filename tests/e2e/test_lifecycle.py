"""Models and processes come and go: copies, deletions, kills, evictions, stops."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import psutil
import pytest

from scripts.model_factory import Quantization, write_preset
from tests.e2e.conftest import Home, put, wait_for

ASK: Any = [{"role": "user", "content": "Hello"}]


def ids(served: Any) -> set[str]:
    return {model["id"] for model in served.get("/slmreg/models")["data"] if model["status"] == "ready"}


def workers_of(served: Any) -> list[psutil.Process]:
    """Its worker processes, with and without a model."""
    found = []
    for child in psutil.Process(served.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "daemon.worker.main" in child.cmdline():
                found.append(child)
    return found


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_machine_without_models_serves_the_demo_model_until_a_real_one_arrives(home: Home, tiny: Path) -> None:
    served = home.start()
    (demo,) = served.openai.models.list()
    assert (demo.model_extra or {})["slmreg"]["demo"] is True
    assert served.openai.chat.completions.create(model="auto", messages=ASK, max_tokens=3).model == demo.id
    wait_for(lambda: "models.only_demo" in home.log.read_text(), "the log to say so")

    put(tiny, home.models / "real")
    wait_for(lambda: "real:0" in ids(served), "the new model")
    assert served.openai.chat.completions.create(model="auto", messages=ASK, max_tokens=3).model == "real:0"
    rejected = served.post("/slmreg/select", {"task": "chat"}).json()["rejected"]
    assert [(r["id"], r["code"]) for r in rejected] == [(demo.id, "demo_model")]


def test_a_dropped_folder_answers_soon_and_a_deleted_one_is_missing(home: Home, tiny: Path) -> None:
    served = home.start()
    put(tiny, home.models / "dropped")
    copied_s = time.monotonic()
    wait_for(lambda: "dropped:0" in ids(served), "the new model")
    answer = served.openai.chat.completions.create(model="dropped", messages=ASK, max_tokens=3)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert time.monotonic() - copied_s < 30

    shutil.rmtree(home.models / "dropped")
    wait_for(lambda: "dropped:0" not in ids(served), "the model to go missing")
    wait_for(lambda: "dropped:0" not in served.sessions(), "its session to be unloaded")
    with pytest.raises(openai.ConflictError, match="missing"):
        served.openai.chat.completions.create(model="dropped", messages=ASK)


def test_a_half_copied_folder_is_no_model_until_it_is_complete(home: Home, tiny: Path) -> None:
    served = home.start()
    folder = home.models / "slow"
    folder.mkdir()
    for name in ("genai_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny / name, folder)
    wait_for(lambda: served.get("/slmreg/problems")["data"], "the unfinished folder to be reported")
    assert "slow:0" not in ids(served)
    shutil.copy(tiny / "model.onnx", folder)
    wait_for(lambda: "slow:0" in ids(served), "the complete model")
    assert served.get("/slmreg/problems")["data"] == []


def test_killing_the_worker_ends_that_stream_with_an_error_and_the_next_request_works(home: Home, slow: Path) -> None:
    put(slow, home.models / "victim")
    served = home.start()
    stream = served.openai.chat.completions.create(
        model="victim", messages=ASK, temperature=0, max_tokens=8000, stream=True
    )
    next(iter(stream))
    os.kill(served.sessions()["victim:0"]["pid"], signal.SIGKILL)
    with pytest.raises(openai.APIError, match="SIGKILL"):
        for _ in stream:
            pass
    again = served.openai.chat.completions.create(model="victim", messages=ASK, max_tokens=3)
    assert again.usage is not None
    assert again.usage.completion_tokens == 3


def test_just_one_idle_session_is_evicted_to_fit_the_budget(home: Home, tiny: Path) -> None:
    for name in ("one", "two", "three"):
        put(tiny, home.models / name)
    served = home.start(memory_budget_bytes=260_000_000)  # room for two
    for name in ("one", "two", "three"):
        served.openai.chat.completions.create(model=name, messages=ASK, max_tokens=2)
    ready = {model_id for model_id, session in served.sessions().items() if session["state"] == "ready"}
    assert "three:0" in ready
    assert len(ready) == 2  # which one went depends on how long each took to load


def test_a_model_beyond_the_budget_is_503_with_the_numbers(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start(memory_budget_bytes=1_000_000)
    with pytest.raises(openai.InternalServerError, match="needs") as caught:
        served.openai.chat.completions.create(model="tiny", messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (503, "out_of_memory_budget")
    with pytest.raises(openai.InternalServerError, match="tiny:0") as caught:
        served.openai.chat.completions.create(model="auto", messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (503, "no_model_for_task")


def test_a_client_that_leaves_stops_the_generation(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    served.openai.chat.completions.create(model="slow", messages=ASK, max_tokens=1)
    url = f"{served.url}/v1/chat/completions"
    body = {"model": "slow", "messages": ASK, "temperature": 0, "max_tokens": 8000}

    def is_idle() -> bool:
        return bool(served.sessions()["slow:0"]["active"] == 0)

    with httpx.stream("POST", url, json={**body, "stream": True}, timeout=30) as response:
        lines = response.iter_lines()  # dropping the iterator would close the connection
        next(lines)
        assert not is_idle()
    wait_for(is_idle, "the lease of the stream to come back", timeout_s=8)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json=body, timeout=0.1)
    wait_for(is_idle, "the lease of the whole answer to come back", timeout_s=8)


def test_a_damaged_model_is_an_error_that_is_remembered(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "damaged")
    graph = home.models / "damaged" / "tokenizer.json"
    graph.write_text('{"model": {"type": "BPE"}}', encoding="utf-8")
    served = home.start()
    for _ in range(2):
        with pytest.raises(openai.APIStatusError) as caught:
            served.openai.chat.completions.create(model="damaged", messages=ASK)
        assert caught.value.status_code in (409, 503)
        assert "damaged" in caught.value.message
        assert "Traceback" not in caught.value.message


def test_a_pin_wins_and_an_unusable_pin_is_an_error_not_another_model(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "small-one")
    write_preset("tiny", home.models / "other-one", quantization=Quantization.FP32, seed=5)
    served = home.start()
    for pinned in ("small-one:0", "other-one:0"):
        served.post("/slmreg/pins", {"task": "chat", "model": pinned}).raise_for_status()
        assert served.openai.chat.completions.create(model="auto", messages=ASK, max_tokens=2).model == pinned
    shutil.rmtree(home.models / "other-one")
    wait_for(lambda: "other-one:0" not in ids(served), "the pinned model to go missing")
    with pytest.raises(openai.ConflictError, match="other-one:0"):
        served.openai.chat.completions.create(model="auto", messages=ASK)
    httpx.delete(f"{served.url}/slmreg/pins/chat").raise_for_status()
    assert served.openai.chat.completions.create(model="auto", messages=ASK, max_tokens=2).model == "small-one:0"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_stopped_daemon_finishes_running_answers_and_exits_with_0(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    got: list[str] = []

    def ask() -> None:
        answer = served.openai.chat.completions.create(model="slow", messages=ASK, temperature=0, max_tokens=800)
        got.append(answer.choices[0].finish_reason)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: served.sessions().get("slow:0", {}).get("active") == 1, "the answer to begin")
    workers = workers_of(served)
    served.daemon.process.send_signal(signal.SIGTERM)
    asking.join(30)
    assert got == ["length"]
    assert served.daemon.process.wait(20) == 0
    assert workers
    assert not any(map(lives, workers))
    assert not (home.path / "run" / "daemon.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_daemon_leaves_no_orphan_and_can_be_started_again(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    served.openai.chat.completions.create(model="tiny", messages=ASK, max_tokens=1)
    # The worker, and the one that is kept ready for the next model.
    workers = wait_for(lambda: len(found := workers_of(served)) == 2 and found, "the next spare")
    served.daemon.process.kill()
    served.daemon.process.wait(10)
    wait_for(lambda: not any(map(lives, workers)), "the workers to end")
    assert "tiny:0" in ids(home.start())


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_load_takes_the_process_that_was_kept_ready_unless_none_is_wanted(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start(warm_tasks="")
    (spare,) = wait_for(lambda: workers_of(served), "the spare")
    served.post("/slmreg/load", {"model": "tiny"}).raise_for_status()
    assert served.sessions()["tiny:0"]["pid"] == spare.pid
    served.daemon.process.send_signal(signal.SIGTERM)
    assert served.daemon.process.wait(20) == 0

    served = home.start(warm_tasks="", spare_worker=False)
    served.post("/slmreg/load", {"model": "tiny"}).raise_for_status()
    time.sleep(2.5)  # longer than a spare would be waited with
    assert [worker.pid for worker in workers_of(served)] == [served.sessions()["tiny:0"]["pid"]]


def test_a_second_daemon_of_one_home_and_a_taken_port_are_clear_errors(home: Home, tmp_path: Path) -> None:
    served = home.start()

    def serve(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "daemon.cli", "serve", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

    second = serve("--port", "0", environment=home.environment)
    assert (second.returncode, f"already runs at {served.url}" in second.stderr) == (1, True)
    other_home = {**home.environment, "SLMREG_HOME": str(tmp_path / "other")}
    port = served.url.rsplit(":", 1)[1]
    taken = serve("--port", port, environment=other_home)
    assert (taken.returncode, f"Cannot listen on 127.0.0.1:{port}" in taken.stderr) == (1, True)
    assert "Traceback" not in second.stderr + taken.stderr


def test_an_answer_that_takes_too_long_is_504_or_ends_the_stream_with_an_error(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start(request_timeout_s=0.3)
    served.post("/slmreg/load", {"model": "slow"}).raise_for_status()
    ask: Any = {"model": "slow", "messages": ASK, "temperature": 0, "max_tokens": 8000}
    with pytest.raises(openai.InternalServerError, match="request_timeout_s") as caught:
        served.openai.chat.completions.create(**ask)
    assert (caught.value.status_code, caught.value.code) == (504, "answer_timed_out")
    with pytest.raises(openai.APIError, match="request_timeout_s"):
        for _ in served.openai.chat.completions.create(**ask, stream=True):
            pass
    wait_for(lambda: served.sessions()["slow:0"]["active"] == 0, "the leases to come back", timeout_s=8)


def test_a_full_queue_is_429_and_the_others_are_not_touched(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start(max_queue=2)
    served.post("/slmreg/load", {"model": "slow"}).raise_for_status()
    ask: Any = {"model": "slow", "messages": ASK, "temperature": 0, "max_tokens": 600, "stream": True}
    streams = [served.openai.chat.completions.create(**ask) for _ in range(2)]
    with pytest.raises(openai.RateLimitError, match="max_queue") as caught:
        served.openai.chat.completions.create(**ask)
    assert int(caught.value.response.headers["retry-after"]) >= 1
    for stream in streams:
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "length"


def test_a_scan_that_is_asked_for_lets_go_of_what_changed_or_went(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "changing")
    put(tiny, home.models / "leaving")
    served = home.start(settle_s=30)  # the watcher sleeps
    for name in ("changing", "leaving"):
        served.post("/slmreg/load", {"model": name}).raise_for_status()
    before = served.sessions()["changing:0"]["pid"]
    write_preset("tiny", home.models / "changing", seed=7)
    (home.models / "leaving").rename(home.path / "elsewhere")
    served.post("/slmreg/scan", {}).raise_for_status()
    wait_for(lambda: not served.sessions(), "both sessions to go")
    served.openai.chat.completions.create(model="changing", messages=ASK, max_tokens=1)
    assert served.sessions()["changing:0"]["pid"] != before


def test_a_model_with_a_name_beyond_latin_letters_answers(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "模型 ü")
    served = home.start()
    for stream in (False, True):
        raw = served.openai.chat.completions.with_raw_response.create(
            model="模型 ü", messages=ASK, max_tokens=2, stream=stream
        )
        assert unquote(raw.headers["x-slmreg-model"]) == "模型 ü:0"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_stop_that_does_not_wait_longer_ends_answers_with_an_error(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start(drain_timeout_s=0.5)
    served.post("/slmreg/load", {"model": "slow"}).raise_for_status()
    ask: Any = {"model": "slow", "messages": ASK, "temperature": 0, "max_tokens": 8000}
    stream = served.openai.chat.completions.create(**ask, stream=True)
    next(iter(stream))
    served.daemon.process.send_signal(signal.SIGTERM)
    with pytest.raises(openai.APIError, match="stopped before the answer was finished"):
        for _ in stream:
            pass
    assert served.daemon.process.wait(20) == 0


def test_a_worker_that_is_killed_again_and_again_comes_back_each_time(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    for _ in range(2):
        served.openai.chat.completions.create(model="tiny", messages=ASK, max_tokens=1)
        os.kill(served.sessions()["tiny:0"]["pid"], signal.SIGKILL)
        wait_for(lambda: served.sessions()["tiny:0"]["state"] == "failed", "the death to be noticed")
    served.openai.chat.completions.create(model="tiny", messages=ASK, max_tokens=1)


def test_unload_takes_the_variant_that_is_loaded_and_ids_that_the_registry_forgot(home: Home, tiny: Path) -> None:
    for version in (1, 2):
        folder = put(tiny, home.models / f"v{version}")
        folder.joinpath("inference_model.json").write_text(f'{{"Name": "fam-generic-cpu:{version}"}}', encoding="utf-8")
    served = home.start()
    served.post("/slmreg/load", {"model": "fam-generic-cpu:1"}).raise_for_status()
    unloaded = served.post("/slmreg/unload", {"model": "fam"}).json()
    assert unloaded == {"id": "fam-generic-cpu:1", "unloaded": True}
    assert served.post("/slmreg/unload", {"model": "nothing"}).status_code == 404
