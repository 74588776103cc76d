"""A daemon learns from what it does, and still knows it after a restart."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.background import stop_daemon
from registry.experience import Measurement
from registry.store import Registry
from tests.e2e.conftest import Home, Served, put, wait_for

# Long enough to say something about the speed of a prompt.
ASK: Any = [{"role": "user", "content": "What is learned from use? " * 20}]
TOKENS = 24


def ask(served: Served, model: str, **more: Any) -> None:
    served.openai.chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=TOKENS, **more)


def written(home: Home) -> tuple[Measurement, ...]:
    """What stands in the database, as another process reads it."""
    with Registry.open(home.path / "registry.db") as registry:
        return registry.measurements()


def test_loads_and_answers_are_measured_and_survive_a_restart(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start(threads=1)
    assert served.get("/slmreg/models/tiny:0")["measured"] == {}
    for _ in range(3):
        ask(served, "tiny")
    shown = served.get("/slmreg/models/tiny:0")["measured"]
    assert (shown["loads"], shown["threads"]) == (1, 1)
    assert shown["tokens_per_second"] > 0
    stop_daemon(served.daemon.process)

    (first,) = written(home)
    assert (first.model_id, first.threads, first.loads, first.answers) == ("tiny:0", 1, 1, 3)
    assert first.resident_bytes is not None
    assert first.resident_bytes > 10_000_000
    for figure in (first.tokens_per_second, first.prompt_tokens_per_second, first.ttft_s, first.load_s):
        assert figure is not None
        assert figure > 0
    assert first.completion_tokens == TOKENS
    assert first.prompt_tokens is not None
    assert first.prompt_tokens > 32
    if os.name == "posix" and Path("/proc/self/status").exists():
        assert first.peak_bytes is not None
        assert first.peak_bytes >= first.resident_bytes

    again = home.start(threads=1)
    assert again.get("/slmreg/models/tiny:0")["measured"]["answers"] == 3
    ask(again, "tiny")
    stop_daemon(again.daemon.process)
    (second,) = written(home)
    assert (second.loads, second.answers) == (2, 4)


def test_what_is_learned_is_written_down_while_the_daemon_runs(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    ask(served, "tiny")
    wait_for(lambda: [each for each in written(home) if each.answers == 1], "the figures to be written")
    served.daemon.process.kill()
    served.daemon.process.wait(10)
    assert home.start().get("/slmreg/models/tiny:0")["measured"]["answers"] == 1


def test_a_model_that_changed_has_everything_to_show_anew(home: Home, tiny: Path) -> None:
    put(tiny, home.models / "tiny")
    served = home.start()
    ask(served, "tiny")
    template = home.models / "tiny" / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + "{# changed #}", encoding="utf-8")
    wait_for(lambda: served.get("/slmreg/models/tiny:0")["measured"] == {}, "the change of content to be seen")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_what_was_killed_where_memory_is_plenty_is_chosen_and_loaded_again_at_once(home: Home, slow: Path) -> None:
    put(slow, home.models / "slow")
    served = home.start()
    stream = served.openai.chat.completions.create(
        model="slow", messages=ASK, temperature=0, max_tokens=8000, stream=True
    )
    next(iter(stream))
    os.kill(served.sessions()["slow:0"]["pid"], signal.SIGKILL)
    wait_for(lambda: served.sessions()["slow:0"]["state"] == "failed", "the death to be noticed")

    assert served.post("/slmreg/select", {"task": "chat"}).json()["chosen"] == "slow:0"
    ask(served, "auto")
    assert served.sessions()["slow:0"]["state"] == "ready"
