from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from daemon.pool.failures import FailureKind, kind_of_request
from daemon.pool.protocol import (
    Accepted,
    Cancel,
    Delta,
    Failed,
    Finished,
    Generate,
    Guide,
    Load,
    Sampling,
    ToDaemon,
)
from daemon.worker.answer_format import AnswerFormat
from daemon.worker.engine import Engine
from daemon.worker.guidance import Guidance
from daemon.worker.sampling import Logits, SamplingParams
from daemon.worker.scheduler import Scheduler
from registry.errors import GenerationFailed, InvalidRequest
from tests.daemon.worker.drawn import DEMO, END_IDS


class NoBackend:
    """No request gets as far as a row here."""

    can_copy = False
    can_verify = False
    can_resize = False
    least_room_tokens = 0

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        raise GenerationFailed("closed")

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("closed")

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        raise GenerationFailed("closed")

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("not here")

    def rewind(self, row: int, length: int) -> None:
        raise GenerationFailed("closed")

    def resize(self, row: int, room_tokens: int) -> None:
        raise GenerationFailed("rooms stay")

    def copy(self, row: int, length: int, room_tokens: int) -> int:
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

    def bytes_of(self, token: int) -> bytes:
        return chr(token).encode()


class FirstContent:
    source = "test"

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], *, thinking: bool | None = None
    ) -> str:
        if messages[0]["content"] == "refuse":
            raise InvalidRequest("refused")
        if messages[0]["content"] == "too much":
            raise MemoryError
        with_tools = "+tools" if tools else ""
        return str(messages[0]["content"]) + with_tools + {None: "", True: "+thinking", False: "-thinking"}[thinking]


def engine_of(scheduler: Scheduler, *, begin_ids: Sequence[int] = ()) -> Engine:
    return Engine(
        scheduler=scheduler,
        tokenizer=Characters(),
        template=FirstContent(),
        answers=AnswerFormat(Characters(), Guidance(DEMO / "tokenizer.json", END_IDS)),
        end_ids=frozenset(),
        defaults=SamplingParams(),
        vocabulary=Characters(),
        vocab_size=128,
        begin_ids=begin_ids,
        adapters=frozenset({"style"}),
    )


@pytest.fixture
def engine() -> Engine:
    return engine_of(Scheduler(NoBackend(), context_tokens=256, max_concurrent=1))


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


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guide": Guide(kind="json_schema", text="{oops")}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "function", "tool_name": "g", "tools": [{"function": {"name": "f"}}]}, "tool_choice"),
        ({"tool_choice": "required", "tools": [{"function": {"name": "f", "parameters": {"not": {}}}}]}, "tools"),
    ],
)
def test_a_demand_that_cannot_be_met_is_refused_with_what_is_to_blame(
    engine: Engine, fields: dict[str, Any], param: str
) -> None:
    (failed,) = engine.handle(Generate(request_id="r", messages=[{"content": "four"}], **fields))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", param)
    assert engine.is_idle


def test_tools_that_are_not_to_be_called_do_not_reach_the_template(engine: Engine) -> None:
    tools = [{"function": {"name": "f"}}]
    (offered,) = engine.handle(Generate(request_id="a", messages=[{"content": "four"}], tools=tools))
    (kept,) = engine.handle(Generate(request_id="b", messages=[{"content": "four"}], tools=tools, tool_choice="none"))
    assert (offered, kept) == (Accepted("a", 10), Accepted("b", 4))


def test_a_raw_prompt_is_read_as_it_is_without_the_template(engine: Engine) -> None:
    chat = [{"content": "refuse"}]
    (event,) = engine.handle(Generate(request_id="r", messages=chat, prompt="<|user|>hi", thinking=True))
    assert event == Accepted("r", 10)


def test_an_empty_raw_prompt_is_blamed_itself(engine: Engine) -> None:
    (failed,) = engine.handle(Generate(request_id="r", messages=[], prompt=""))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", "prompt")


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


class Counter(NoBackend):
    """The next token is the last one plus one."""

    def __init__(self) -> None:
        self.adapters: list[str | None] = []

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        self.adapters.append(adapter)
        return len(self.adapters)

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        logits = np.zeros(128, dtype=np.float32)
        logits[(tokens[-1] + 1) % 128] = 3
        return logits

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        return [self.extend(row, [token]) for row, token in batch]

    def close(self, row: int) -> None:
        pass


def answers(request: Generate) -> tuple[list[str], ToDaemon, Counter]:
    """The text of each choice, the last message, and what the backend was asked for."""
    backend = Counter()
    engine = engine_of(Scheduler(backend, context_tokens=256, max_concurrent=4))
    events = engine.handle(request)
    while not engine.is_idle:
        events += engine.step()
    texts = [""] * request.choices
    for event in events:
        if isinstance(event, Delta):
            texts[event.choice] += event.text
    return texts, events[-1], backend


def generate(**asked: Any) -> Generate:
    settings: dict[str, Any] = {"max_tokens": 4, "sampling": Sampling(temperature=0.0), **asked}
    return Generate(request_id="r", messages=[{"content": "a"}], **settings)


def test_a_stop_token_ends_an_answer_but_not_before_its_least_length() -> None:
    texts, end, _ = answers(generate(stop_token_ids=[ord("d")]))
    assert (texts, isinstance(end, Finished) and end.finish_reason) == (["bc"], "stop")
    texts, _, _ = answers(generate(stop_token_ids=[ord("d")], min_tokens=4))
    assert texts[0].startswith("bc")
    assert len(texts[0]) == 4


def test_penalties_and_biases_reach_the_sampler() -> None:
    texts, _, _ = answers(generate(sampling=Sampling(temperature=0.0, logit_bias={str(ord("z")): 50.0})))
    assert texts == ["zzzz"]
    (failed,) = engine_of(Scheduler(NoBackend(), context_tokens=256, max_concurrent=1)).handle(
        generate(sampling=Sampling(logit_bias={"128": 1.0}))
    )
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", "logit_bias")


def test_choices_have_seeds_of_their_own_that_are_the_same_each_time() -> None:
    request = generate(choices=3, sampling=Sampling(temperature=2.0, seed=5))
    texts, end, _ = answers(request)
    assert len(set(texts)) == 3
    assert answers(request)[0] == texts
    assert answers(generate(sampling=Sampling(temperature=2.0, seed=6)))[0] == texts[1:2]
    assert isinstance(end, Finished)
    assert (end.prompt_tokens, end.completion_tokens, end.finish_reasons) == (1, 12, ["length"] * 3)


def test_log_probabilities_and_adapters_are_passed_on() -> None:
    _, _, backend = answers(generate(adapter="style"))
    assert backend.adapters == ["style"]
    engine = engine_of(Scheduler(Counter(), context_tokens=256, max_concurrent=1))
    engine.handle(generate(top_logprobs=2))
    (delta, *_) = engine.step()
    assert isinstance(delta, Delta)
    assert (delta.logprobs[0].token, len(delta.logprobs[0].top)) == ("b", 2)


# -- prompts that are no chats, and answers that are begun


def raw(prompt: str | list[int], **asked: Any) -> Generate:
    return Generate(request_id="r", messages=[], prompt=prompt, sampling=Sampling(temperature=0.0), **asked)


def test_a_prompt_that_is_no_chat_is_gone_on_from_as_it_is() -> None:
    for prompt in ("a", [ord("a")]):
        texts, end, _ = answers(raw(prompt, max_tokens=3))
        assert (texts, isinstance(end, Finished) and end.prompt_tokens) == (["bcd"], 1)


def test_the_text_of_token_ids_is_told() -> None:
    engine = engine_of(Scheduler(Counter(), context_tokens=256, max_concurrent=1))
    assert engine.handle(raw([104, 105])) == [Accepted("r", 2, "hi")]
    assert engine.handle(raw("hi")) == [Accepted("r", 2)]


def test_nothing_after_a_raw_prompt_is_taken_for_reasoning() -> None:
    """The answer is "<=>?@AB...", and its prompt ends where a chat's would let the model think."""
    texts, _, _ = answers(raw("<think>;", max_tokens=3))
    assert texts == ["<=>"]
    texts, _, _ = answers(raw("<think>", max_tokens=3))
    assert texts == ["?@A"]


def test_a_text_begins_with_what_every_text_begins_with_but_not_twice() -> None:
    engine = engine_of(Scheduler(Counter(), context_tokens=256, max_concurrent=1), begin_ids=[1])
    sizes = [engine.handle(raw(prompt)) for prompt in ("hi", "\x01hi", [104, 105])]
    assert sizes == [[Accepted("r", 3)], [Accepted("r", 3)], [Accepted("r", 2, "hi")]]


@pytest.mark.parametrize("prompt", ["", [], [128], [5, -1]])
def test_a_prompt_of_nothing_or_of_unknown_tokens_is_refused(engine: Engine, prompt: str | list[int]) -> None:
    (failed,) = engine.handle(raw(prompt))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", "prompt")


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    """The template of this test writes down that the model is not to think."""
    texts, end, _ = answers(generate(prefill="lm", max_tokens=2))
    assert (texts, isinstance(end, Finished) and end.prompt_tokens) == (["no"], len("a-thinkinglm"))


def test_an_answer_is_begun_after_the_thought_that_its_prompt_opens() -> None:
    answers = AnswerFormat(Characters(), Guidance(DEMO / "tokenizer.json", END_IDS))
    assert answers.begun("user<think>\n", "So") == "user<think>\n\n</think>\n\nSo"
    assert answers.begun("user", "So") == "userSo"
    assert answers.begun("user<think>\n", "") == "user<think>\n"


def test_the_stop_string_that_ended_an_answer_is_told() -> None:
    told = []
    for stop, choices in ((["x", "d"], 1), (["d"], 2), (["x"], 1)):
        texts, end, _ = answers(generate(stop=stop, choices=choices))
        told.append((texts[0], isinstance(end, Finished) and end.stop_string))
    assert told == [("bc", "d"), ("bc", "d"), ("bcde", None)]
