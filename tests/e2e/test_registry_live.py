"""The registry of a running daemon: what is told of a change, and what survives one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.model_factory import write_preset
from tests.e2e.conftest import Home, Served, put, wait_for
from tests.e2e.follower import Follower

ASK: Any = [{"role": "user", "content": "Hello"}]


def slmreg(home: Home, *arguments: str) -> Any:
    command = [sys.executable, "-m", "daemon.cli", *arguments, "--json"]
    done = subprocess.run(command, env=home.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(served: Served, model: str) -> str:
    """The id of the model that answered."""
    return str(served.openai.chat.completions.create(model=model, messages=ASK, max_tokens=2).model)


def break_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "genai_config.json").write_text("{", encoding="utf-8")


def test_a_follower_hears_of_models_and_problems_as_they_come_and_go(home: Home, tiny: Path) -> None:
    served = home.start()
    with Follower(served.url) as follower:
        folder = put(tiny, home.models / "dropped")
        added = follower.wait_for("model.added", id="dropped:0")
        assert added == {
            "id": "dropped:0",
            "alias": "dropped",
            "path": str(folder),
            "source": "folder",
            "status": "ready",
        }
        break_folder(home.models / "broken")
        found = follower.wait_for("problem.found", path=str(home.models / "broken"))
        assert found["message"]
        shutil.rmtree(home.models / "broken")
        follower.wait_for("problem.solved", path=str(home.models / "broken"))
        (folder / "tokenizer.json").unlink()
        follower.wait_for("model.updated", id="dropped:0", status="invalid")
        shutil.rmtree(folder)
        follower.wait_for("model.missing", id="dropped:0", status="missing")
        put(tiny, folder)
        wait_for(lambda: follower.kinds("dropped:0").count("model.added") == 2, "the model to come back")
        served.post("/slmreg/pins", {"task": "chat", "model": "dropped"}).raise_for_status()
        follower.wait_for("pin.changed", task="chat", model="dropped:0")
    wait_for(lambda: served.get("/slmreg/status")["subscribers"] == 0, "the follower's place to be free")


def test_a_follower_that_comes_back_hears_what_it_missed_and_nothing_twice(home: Home, tiny: Path) -> None:
    served = home.start()
    with Follower(served.url) as first:
        put(tiny, home.models / "one")
        first.wait_for("model.added", id="one:0")
    put(tiny, home.models / "two")
    wait_for(lambda: "two:0" in {model["id"] for model in served.get("/slmreg/models")["data"]}, "the second model")
    put(tiny, home.models / "three")
    with Follower(served.url, last_event_id=first.last_event_id) as again:
        again.wait_for("model.added", id="three:0")
        assert [data["id"] for kind, data in again.events if kind == "model.added"] == ["two:0", "three:0"]
    with Follower(served.url, last_event_id="never-1") as lost:
        lost.wait_for("registry.reset")


def test_a_follower_of_the_daemon_before_is_told_to_list_again(home: Home) -> None:
    served = home.start()
    with Follower(served.url) as before:
        served.daemon.process.terminate()
        before.end()
    assert served.daemon.process.wait(20) == 0
    with Follower(home.start().url, last_event_id=before.last_event_id) as after:
        after.wait_for("registry.reset")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_followers_do_not_delay_the_end_and_their_streams_end_properly(home: Home) -> None:
    served = home.start(drain_timeout_s=300, max_subscribers=2)  # the web server would wait longer than that for them
    with Follower(served.url) as one, Follower(served.url) as other:
        refused = httpx.get(f"{served.url}/slmreg/events", timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
        served.daemon.process.send_signal(signal.SIGTERM)
        assert served.daemon.process.wait(20) == 0
        for follower in (one, other):
            follower.end()
            assert follower.error is None


def test_a_silent_stream_is_kept_alive(home: Home) -> None:
    with Follower(home.start(heartbeat_s=0.1).url) as follower:
        wait_for(lambda: follower.comments >= 2, "signs of life")
        assert follower.events == []


def test_a_root_is_added_and_removed_beside_a_running_daemon(home: Home, tiny: Path, tmp_path: Path) -> None:
    served = home.start()
    put(tiny, tmp_path / "elsewhere" / "far")
    path = str(tmp_path / "elsewhere")
    with Follower(served.url) as follower:
        slmreg(home, "roots", "add", path, "--settle-s", "0.2")
        follower.wait_for("root.changed", path=path, searched=True)
        follower.wait_for("model.added", id="far:0")
        (root,) = [root for root in served.get("/slmreg/roots")["data"] if root["path"] == path]
        assert (root["enabled"], root["settle_s"], root["models"]) == (True, 0.2, 1)
        wait_for(
            lambda: path in {state["path"] for state in served.get("/slmreg/status")["watching"]}, "the watch on it"
        )
        assert slmreg(home, "roots", "remove", path)["switched_off"] is False
        follower.wait_for("root.changed", path=path, searched=False)
        follower.wait_for("model.missing", id="far:0")
    assert path not in {root["path"] for root in served.get("/slmreg/roots")["data"]}


def test_a_root_that_was_found_by_itself_is_switched_off_and_on(home: Home, tiny: Path) -> None:
    foundry = home.path / "foundry"
    put(tiny, foundry / "Microsoft" / "phi" / "v1")
    (model_id,) = [model["id"] for model in slmreg(home, "list", "--source", "foundry")]
    served = home.start()
    assert answers(served, model_id) == model_id
    assert slmreg(home, "roots", "remove", str(foundry))["switched_off"] is True

    def root() -> Any:
        (found,) = [each for each in served.get("/slmreg/roots")["data"] if each["path"] == str(foundry)]
        return found

    assert (root()["enabled"], root()["models"]) == (False, 0)
    assert served.post("/slmreg/load", {"model": model_id}).status_code in (404, 409)
    slmreg(home, "roots", "add", str(foundry))
    assert (root()["enabled"], root()["models"]) == (True, 1)
    assert answers(served, model_id) == model_id


def test_a_pinned_model_that_is_moved_keeps_its_id_and_pin_and_answers(home: Home, tiny: Path) -> None:
    folder = put(tiny, home.models / "first" / "place")
    folder.joinpath("inference_model.json").write_text('{"Name": "mine-generic-cpu:3"}', encoding="utf-8")
    put(tiny, home.models / "other")
    served = home.start()
    served.post("/slmreg/pins", {"task": "chat", "model": "mine"}).raise_for_status()
    assert answers(served, "auto") == "mine-generic-cpu:3"
    moved = home.models / "second" / "home"
    moved.parent.mkdir()
    folder.rename(moved)
    wait_for(lambda: served.get("/slmreg/models/mine")["path"] == str(moved), "the move to be noticed")
    model = served.get("/slmreg/models/mine")
    assert (model["id"], model["status"], model["pinned_for"]) == ("mine-generic-cpu:3", "ready", ["chat"])
    assert answers(served, "auto") == "mine-generic-cpu:3"
    assert answers(served, "mine") == "mine-generic-cpu:3"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_model_in_a_hugging_face_cache_is_used_through_its_links(home: Home, tiny: Path) -> None:
    served = home.start()
    repository = home.path / "hf" / "models--someone--tiny-onnx"
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / revision / "cpu_and_mobile" / "cpu-int4"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(tiny.iterdir())):
        blob = repository / "blobs" / f"{number:040x}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision, encoding="utf-8")

    def models() -> Any:
        return [model for model in served.get("/slmreg/models")["data"] if model["source"] == "huggingface"]

    wait_for(lambda: [model["status"] for model in models()] == ["ready"], "the model in the cache")
    (model,) = models()
    assert (model["version"], model["refs"], model["publisher"]) == (revision[:8], ["main"], "someone")
    assert answers(served, model["id"]) == model["id"]


def test_a_damaged_registry_is_made_anew_with_its_roots_and_pins_and_says_so(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "one")
    write_preset("tiny", home.models / "two", seed=2)
    assert slmreg(home, "pin", "chat", "two")["model"] == "two:0"
    for file in home.path.glob("registry.db-*"):
        file.unlink()
    home.path.joinpath("registry.db").write_bytes(b"this is no database, it is a note to myself" * 100)
    served = home.start()
    recovered = served.get("/slmreg/status")["recovered"]
    assert (recovered["restored"]["pins"], recovered["restored"]["roots"]) == (1, 1)
    assert Path(recovered["kept"]).read_bytes().startswith(b"this is no database")
    assert answers(served, "auto") == "two:0"
