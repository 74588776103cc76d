from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from daemon.pool.failures import FailureKind, kind_of_request
from daemon.pool.protocol import Accepted, Cancel, Failed, Finished, Generate, Load, ToDaemon
from daemon.worker.engine import Engine
from daemon.worker.sampling import Logits, SamplingParams
from daemon.worker.scheduler import Scheduler
from registry.errors import GenerationFailed, InvalidRequest


class NoBackend:
    """No request gets as far as a row here."""

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        raise GenerationFailed("closed")

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("closed")

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        raise GenerationFailed("closed")

    def close(self, row: int) -> None:
        raise GenerationFailed("closed")


class Characters:
    """Every character is a token; "!" is what the tokenizer cannot take."""

    def encode(self, text: str) -> list[int]:
        if "!" in text:
            raise RuntimeError("bad text")
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def is_silent(self, token: int) -> bool:
        return False


class FirstContent:
    source = "test"

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool | None = None
    ) -> str:
        if messages[0]["content"] == "refuse":
            raise InvalidRequest("refused")
        if messages[0]["content"] == "too much":
            raise MemoryError
        return str(messages[0]["content"]) + {None: "", True: "+thinking", False: "-thinking"}[thinking]


@pytest.fixture
def engine() -> Engine:
    scheduler = Scheduler(NoBackend(), context_tokens=256, max_concurrent=1)
    return Engine(
        scheduler=scheduler,
        tokenizer=Characters(),
        template=FirstContent(),
        end_ids=frozenset(),
        defaults=SamplingParams(),
    )


def ask(engine: Engine, messages: list[Any]) -> ToDaemon:
    (event,) = engine.handle(Generate(request_id="r", messages=messages))
    return event


def test_a_good_request_is_accepted_with_the_size_of_its_prompt(engine: Engine) -> None:
    assert ask(engine, [{"content": "four"}]) == Accepted("r", 4)
    assert not engine.is_idle


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"content": "refuse"}], "invalid_request"),
        ([{"content": ""}], "invalid_request"),
        ([{"content": "x!"}], "generation_failed"),
        ([], "invalid_request"),
        ([3], "invalid_request"),
        ([{"content": "x" * 256}], "context_length_exceeded"),
    ],
)
def test_a_bad_request_fails_alone(engine: Engine, messages: list[Any], code: str) -> None:
    failed = ask(engine, messages)
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert engine.is_idle


@pytest.mark.parametrize(("thinking", "tokens"), [(None, 4), (True, 13), (False, 13)])
def test_whether_to_think_reaches_the_template(engine: Engine, thinking: bool | None, tokens: int) -> None:
    (event,) = engine.handle(Generate(request_id="r", messages=[{"content": "four"}], thinking=thinking))
    assert event == Accepted("r", tokens)


def test_a_prompt_that_there_is_no_memory_for_is_a_failure_of_that_kind(engine: Engine) -> None:
    failed = ask(engine, [{"content": "too much"}])
    assert isinstance(failed, Failed)
    assert kind_of_request(failed) is FailureKind.OUT_OF_MEMORY


def test_a_cancel_reaches_a_waiting_request(engine: Engine) -> None:
    ask(engine, [{"content": "x"}])
    (finished,) = engine.handle(Cancel("r"))
    assert isinstance(finished, Finished)
    assert engine.is_idle


def test_a_second_load_changes_nothing(engine: Engine) -> None:
    load = Load(path="x", execution_provider="cpu", threads=1, context_tokens=1, max_concurrent=1)
    assert engine.handle(load) == []
