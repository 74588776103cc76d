"""The warm set of a real daemon: what is loaded before anybody asks, and how a better model takes over."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from tests.e2e.conftest import Home, Served, put, put_broken, wait_for
from tests.e2e.follower import Follower
from tests.e2e.test_cli import as_json, slmreg

BETTER = '{"better*": 20}'
ANSWER_TOKENS = 60


def warm_for(served: Served) -> dict[str, list[str]]:
    """The models that are loaded, with what each is kept for."""
    return {
        model_id: session["warm_for"] for model_id, session in served.sessions().items() if session["state"] == "ready"
    }


def wait_until_warm(served: Served, model_id: str) -> Any:
    """The session of the one model that is loaded, once it is that one."""
    wait_for(lambda: warm_for(served) == {model_id: ["chat"]}, f"{model_id} to be the one that is warm")
    return served.sessions()[model_id]


def ask(served: Served, model: str = "auto", **body: Any) -> httpx.Response:
    whole = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, **body}
    return served.post("/v1/chat/completions", whole)


class Clients:
    """Three clients that have one chat answer after the other streamed, from when they are entered until left."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._stream, daemon=True) for _ in range(3)]
        self.answers: list[tuple[str, str | None, int]] = []
        self.errors: list[Exception] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)

    @property
    def models(self) -> Counter[str]:
        return Counter(model for model, _, _ in list(self.answers))

    def _stream(self) -> None:
        ask: Any = {
            **{"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": ANSWER_TOKENS},
            **{"stream": True, "stream_options": {"include_usage": True}},
        }
        client = self._served.openai
        while not self._is_over.is_set():
            try:
                *_, last, usage = client.chat.completions.create(**ask)
            except Exception as error:
                self.errors.append(error)
                return
            self.answers.append((last.model, last.choices[0].finish_reason, usage.usage.completion_tokens))


def test_the_best_model_is_loaded_before_anybody_asks_and_no_keep_alive_ends_it(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "better")
    put(tiny, home.models / "other")
    served = home.start(warm_tasks="chat", model_points=BETTER, keep_alive="100ms")
    before = wait_until_warm(served, "better:0")
    assert before["expires_s"] is None
    assert ask(served, "other").status_code == 200
    after = wait_until_warm(served, "better:0")  # the other one has gone, and was used later
    assert (after["pid"], after["idle_s"] > 0.1) == (before["pid"], True)


def test_a_better_model_that_is_copied_in_takes_over_and_no_request_notices(home: Home, slow: Path) -> None:
    put(slow, home.models / "old")
    served = home.start(warm_tasks="chat", model_points=BETTER)
    old = wait_until_warm(served, "old:0")
    with Follower(served.url) as follower, Clients(served) as clients:
        wait_for(lambda: clients.models["old:0"] >= 6, "answers of the old model")
        put(slow, home.models / "better")
        swap = follower.wait_for("session.swapped", task="chat")
        of_old = clients.models["old:0"]
        wait_for(lambda: clients.models["better:0"] >= 6, "answers of the new model")
        follower.wait_for("session.unloaded", id="old:0")
    assert swap == {"task": "chat", "from": "old:0", "to": "better:0"}
    assert clients.errors == []
    assert {answer[1:] for answer in clients.answers} == {("length", ANSWER_TOKENS)}
    assert clients.models["old:0"] <= of_old + 3  # each client had one begun
    assert set(clients.models) == {"old:0", "better:0"}
    wait_until_warm(served, "better:0")
    assert not psutil.pid_exists(old["pid"])


def test_without_auto_swap_the_model_that_is_loaded_stays(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "old")
    served = home.start(warm_tasks="chat", model_points=BETTER, auto_swap=False)
    old = wait_until_warm(served, "old:0")
    with Follower(served.url) as follower:
        for name in ("better", "third"):  # by the time the third is known, the second has been considered
            put(tiny, home.models / name)
            follower.wait_for("model.added", id=f"{name}:0")
        assert served.post("/slmreg/select", {"task": "chat"}).json()["ranking"][0]["id"] == "better:0"
        assert wait_until_warm(served, "old:0")["pid"] == old["pid"]
        assert set(served.sessions()) == {"old:0"}  # nor is the better one on its way
        assert "session.swapped" not in {kind for kind, _ in follower.events}


def test_a_warm_model_that_is_unloaded_by_name_stays_away_until_somebody_asks(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "better")
    served = home.start(warm_tasks="chat", model_points=BETTER)
    wait_until_warm(served, "better:0")
    assert as_json(home, "unload", "better")["unloaded"] is True
    with Follower(served.url) as follower:
        for name in ("second", "third"):
            put(tiny, home.models / name)
            follower.wait_for("model.added", id=f"{name}:0")
        assert served.sessions() == {}
        assert ask(served).headers["x-slmreg-model"] == "better:0"
    wait_until_warm(served, "better:0")


def test_a_pin_moves_the_warm_model(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "better")
    put(tiny, home.models / "other")
    served = home.start(warm_tasks="chat", model_points=BETTER)
    wait_until_warm(served, "better:0")
    served.post("/slmreg/pins", {"task": "chat", "model": "other"}).raise_for_status()
    wait_until_warm(served, "other:0")


def test_a_better_model_that_cannot_be_loaded_leaves_the_old_one_serving_and_is_shown(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "old")
    served = home.start(warm_tasks="chat", model_points=BETTER)
    old = wait_until_warm(served, "old:0")
    with Follower(served.url) as follower:
        put_broken(tiny, home.models / "better")
        failed = follower.wait_for("session.failed", id="better:0")
    assert failed["kind"] == "unsupported"
    assert "NoSuchOperator" in failed["message"]
    assert failed["retry_s"] > 0
    answer = ask(served)
    assert (answer.status_code, answer.headers["x-slmreg-model"]) == (200, "old:0")
    assert warm_for(served) == {"old:0": ["chat"]}
    assert served.sessions()["old:0"]["pid"] == old["pid"]

    listed = {model["id"]: model["failure"] for model in as_json(home, "list")}
    assert (listed["better:0"]["kind"], listed["old:0"]) == ("unsupported", None)
    assert "failed" in slmreg(home, "list").stdout
    ill = {finding["subject"]: finding for finding in as_json(home, "doctor", code=1)["findings"]}
    (finding,) = [each for each in ill.values() if "better:0 (unsupported)" in "".join(each["items"])]
    assert finding["level"] == "problem"
