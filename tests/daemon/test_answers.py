"""Answers over a real pool with fake processes: what they teach, and what reaches the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon.answers import USUAL_ANSWER_TOKENS, Answers, as_error
from daemon.catalog import Catalog
from daemon.endpoints import CHATS, Endpoint
from daemon.learner import Learner
from daemon.pool.budget import MemoryMeter
from daemon.pool.launch import Ask, Event
from daemon.pool.limits import PoolLimits
from daemon.pool.plan import LoadPlan
from daemon.pool.pool import SessionPool
from daemon.pool.protocol import Accepted, Delta, Failed, Finished, Generate, Load, Measure, Ready
from daemon.resolving import Resolved
from daemon.terms import NO_TERMS, KeepAlive, Terms
from daemon.wants import NO_WANTS, Wants
from registry.errors import (
    AnswerTimedOut,
    ContextLengthExceeded,
    GenerationFailed,
    InvalidRequest,
    LoadFailed,
    NoModelForTask,
    SlmregError,
    UnsupportedParameter,
)
from registry.model import Model, Preset, Task
from selector.selection import Selection
from tests.fakes import FakeLauncher, FakeWorker, a_model, on_loop

A, B = a_model("a"), a_model("b")
PLAN = LoadPlan(context_tokens=1024, threads=2, need_bytes=1000)


@dataclass
class Names:
    """A catalog that knows what a name means, and remembers what was wanted."""

    resolved: dict[str, Resolved]
    wanted: list[Wants] = field(default_factory=list)
    longer: list[tuple[int, int]] = field(default_factory=list)

    def resolve(
        self, reference: str, wants: Wants = NO_WANTS, *, is_forced: bool = False, serves: Endpoint = CHATS
    ) -> Resolved:
        self.wanted.append(wants)
        return self.resolved[reference.removesuffix(":1")]

    def plan_longer(
        self, model: Model, plan: LoadPlan, too_long: ContextLengthExceeded, *, answer_tokens: int
    ) -> LoadPlan:
        self.longer.append((too_long.prompt_tokens, answer_tokens))
        if too_long.prompt_tokens >= model.context_tokens:
            raise ContextLengthExceeded(too_long.prompt_tokens, model.context_tokens)
        least = too_long.prompt_tokens + 1
        return replace(plan, context_tokens=model.context_tokens, least_context_tokens=least)

    def requested(self, reference: str) -> tuple[Model, ...]:
        return (self.resolved[reference].model,) if reference in self.resolved else ()


class Scripted(FakeWorker):
    """A worker that answers what the test says."""

    script: tuple[Event, ...] = ()
    asked: list[Ask]

    failing: frozenset[str] = frozenset()
    pause_s = 0.0
    prompt_tokens = 0

    async def load(self, message: Load) -> Ready:
        self.load_error = "damaged" if message.path in self.failing else None
        return await super().load(message)

    async def generate(self, request: Ask | Measure) -> AsyncGenerator[Event, None]:
        assert not isinstance(request, Measure)
        self.asked.append(request)
        if self.loaded is not None and self.prompt_tokens >= self.loaded.context_tokens:
            yield too_long(request, self.prompt_tokens, self.loaded.context_tokens)
            return
        for event in self.script:
            yield event
            await asyncio.sleep(self.pause_s)


class Scripting(FakeLauncher):
    script: tuple[Event, ...] = ()
    failing: frozenset[str] = frozenset()
    pause_s = 0.0
    prompt_tokens = 0

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Ask] = []

    async def start(self) -> FakeWorker:
        worker = Scripted(len(self.workers) + 1, self)
        worker.script, worker.asked = self.script, self.asked
        worker.failing, worker.pause_s = self.failing, self.pause_s
        worker.prompt_tokens = self.prompt_tokens
        self.workers.append(worker)
        return worker


def too_long(request: Ask, prompt_tokens: int, context_tokens: int) -> Failed:
    return Failed(
        request_id=request.request_id,
        code=ContextLengthExceeded.code,
        message="too long",
        prompt_tokens=prompt_tokens,
        context_tokens=context_tokens,
    )


def finished(**changes: Any) -> Finished:
    """11 tokens at 10 tokens/s after half a second, of which 0.1 s in the queue."""
    times: dict[str, Any] = {"queue_s": 0.1, "ttft_s": 0.5, "decode_s": 1.0, "finish_reason": "stop"}
    return Finished(request_id="r", **{"prompt_tokens": 100, "completion_tokens": 11, **times, **changes})


class Bench:
    def __init__(self, *script: Event, thinking: bool | None = None) -> None:
        self.launcher = Scripting()
        self.launcher.script = (Accepted("r", 100), *script)
        self.learner = Learner(lambda _measurements: None, ())
        limits = PoolLimits(
            budget_bytes=None,
            max_concurrent=4,
            max_queue=8,
            load_timeout_s=5,
            queue_timeout_s=5,
            drain_timeout_s=5,
            failed_retry_s=5,
        )
        memory = MemoryMeter(self.launcher.available_bytes, self.launcher.resident_bytes, lambda _pid: 4000)
        self.pool = SessionPool(self.launcher, lambda: limits, memory, observer=self.learner)
        self.names = Names({"a": Resolved(A, PLAN, thinking=thinking), "b": Resolved(B, PLAN)})
        self.answers = Answers(cast(Catalog, self.names), self.pool, self.learner, request_timeout_s=lambda: 5)

    async def ask(self, name: str = "a", **request: Any) -> None:
        """Loaded before, so that an answer has the machine to itself."""
        await self.pool.load(self.names.resolved[name].model, PLAN)
        async with await self.answers.start(name, Generate(request_id="r", messages=[], **request)) as answer:
            async for _event in answer:
                pass

    def learned(self, model_id: str = "a:1") -> Any:
        return next(each for each in self.learner.latest() if each.model_id == model_id)


@on_loop
async def test_a_finished_answer_teaches_its_speed_without_the_time_in_the_queue() -> None:
    bench = Bench(Delta("r", "hi", 11), finished())
    await bench.ask()
    learned = bench.learned()
    assert (learned.threads, learned.loads, learned.answers, learned.peak_bytes) == (2, 1, 1, 4000)
    assert learned.ttft_s == pytest.approx(0.4)
    assert learned.prompt_tokens_per_second == pytest.approx(250)
    assert learned.tokens_per_second == pytest.approx(10)
    await bench.pool.close()


@on_loop
async def test_tokens_that_were_not_read_again_teach_nothing_about_reading_a_prompt() -> None:
    bench = Bench(finished(cached_tokens=60))
    await bench.ask()
    learned = bench.learned()
    assert learned.prompt_tokens == 100
    assert learned.prompt_tokens_per_second == pytest.approx(100)  # 40 tokens in 0.4 s
    assert learned.ttft_s is None
    await bench.pool.close()


@on_loop
async def test_several_answers_to_one_request_teach_no_speed() -> None:
    bench = Bench(finished(finish_reasons=["stop", "length"]))
    await bench.ask()
    assert bench.learned().answers == 0
    await bench.pool.close()


@on_loop
async def test_answers_side_by_side_teach_no_speed_and_the_next_one_alone_does() -> None:
    bench = Bench(finished())
    await bench.pool.load(A, PLAN)
    await bench.pool.load(B, PLAN)
    request = Generate(request_id="r", messages=[])
    first, second = await bench.answers.start("a", request), await bench.answers.start("b", request)
    for answer in (first, second):
        async with answer:
            async for _event in answer:
                pass
    for model_id in ("a:1", "b:1"):
        assert (bench.learned(model_id).answers, bench.learned(model_id).completion_tokens) == (0, 11)
    await bench.ask("b")
    assert bench.learned("b:1").answers == 1
    await bench.pool.close()


@on_loop
async def test_an_answer_is_over_with_its_last_token_however_late_it_is_closed() -> None:
    bench = Bench(finished())
    await bench.pool.load(A, PLAN)
    async with await bench.answers.start("a", Generate(request_id="r", messages=[])) as answer:
        async for _event in answer:
            break
        await bench.ask()
    assert bench.learned().answers == 2
    await bench.pool.close()


@on_loop
async def test_a_load_beside_an_answer_spoils_its_figures() -> None:
    bench = Bench(Delta("r", "hi", 1), finished())
    await bench.pool.load(A, PLAN)
    async with await bench.answers.start("a", Generate(request_id="r", messages=[])) as answer:
        await bench.pool.load(B, PLAN)
        async for _event in answer:
            pass
    assert bench.learned().answers == 0
    await bench.pool.close()


@on_loop
async def test_an_answer_that_was_given_up_teaches_nothing() -> None:
    bench = Bench(Delta("r", "hi", 1), finished(finish_reason="cancelled"))
    await bench.ask()
    async with await bench.answers.start("a", Generate(request_id="r", messages=[])) as answer:
        async for _event in answer:
            break
    assert (bench.learned().answers, bench.learned().completion_tokens) == (0, None)
    await bench.pool.close()


@pytest.mark.parametrize(
    ("message", "setbacks"),
    [("The engine failed at this request: std::bad_alloc", ["a:1"]), ("The engine failed: index out of bounds", [])],
)
@on_loop
async def test_an_answer_that_ran_out_of_memory_is_a_setback_of_its_model(message: str, setbacks: list[str]) -> None:
    bench = Bench(Failed(request_id="r", code=GenerationFailed.code, message=message))
    with pytest.raises(GenerationFailed, match="The engine"):
        await bench.ask()
    assert [setback.model_id for setback in bench.learner.setbacks()] == setbacks
    await bench.pool.close()


@on_loop
async def test_a_request_that_was_refused_at_once_leaves_the_machine_to_the_next() -> None:
    bench = Bench()
    bench.launcher.script = (Failed(request_id="r", code=InvalidRequest.code, message="no"),)
    with pytest.raises(InvalidRequest):
        await bench.ask()
    bench.launcher.workers[0].script = (Accepted("r", 100), finished())  # type: ignore[attr-defined]
    await bench.ask()
    assert bench.learned().answers == 1
    await bench.pool.close()


@pytest.mark.parametrize(
    ("chosen", "asked", "told"), [(None, None, None), (False, None, False), (False, True, True), (True, None, True)]
)
@on_loop
async def test_whether_to_think_is_as_the_request_says_or_else_as_was_chosen(
    chosen: bool | None, asked: bool | None, told: bool | None
) -> None:
    bench = Bench(finished(), thinking=chosen)
    await bench.ask(thinking=asked)
    assert [request.thinking for request in bench.launcher.asked if isinstance(request, Generate)] == [told]
    assert bench.names.wanted == [NO_WANTS]
    await bench.pool.close()


class Chooses(Names):
    """``auto`` means the first of these that was not tried already, and a pinned one if the test says so."""

    is_pinned = False

    def resolve(
        self, reference: str, wants: Wants = NO_WANTS, *, is_forced: bool = False, serves: Endpoint = CHATS
    ) -> Resolved:
        self.wanted.append(wants)
        if reference != "auto":
            return self.resolved[reference]
        for name in ("a", "b"):
            resolved = self.resolved[name]
            if resolved.model.id not in wants.not_these:
                selection = cast(Selection, SimpleNamespace(task=Task.CHAT, pinned=self.is_pinned))
                return replace(resolved, selection=selection)
        raise NoModelForTask("nothing is left")


class Failing(Bench):
    """A bench where ``auto`` can be asked for and loads of some models fail."""

    def __init__(self, *, is_pinned: bool = False) -> None:
        super().__init__(finished())
        self.names = Chooses({"a": Resolved(A, PLAN), "b": Resolved(B, PLAN)})
        self.names.is_pinned = is_pinned
        self.answers = Answers(cast(Catalog, self.names), self.pool, self.learner, request_timeout_s=lambda: 5)

    def fail(self, *paths: str) -> None:
        self.launcher.failing = frozenset(paths)

    async def answered_by(self, name: str, terms: Terms = NO_TERMS) -> str:
        request = Generate(request_id="r", messages=[])
        async with await self.answers.start(name, request, terms=terms) as answer:
            async for _event in answer:
                pass
            return answer.model.id


@on_loop
async def test_where_the_choice_cannot_be_loaded_the_next_best_model_answers_the_same_request() -> None:
    bench = Failing()
    bench.fail("/models/a")
    assert await bench.answered_by("auto") == "b:1"
    assert [wants.not_these for wants in bench.names.wanted] == [(), ("a:1",)]
    await bench.pool.close()


@on_loop
async def test_where_nothing_can_be_loaded_the_first_failure_is_told() -> None:
    bench = Failing()
    bench.fail("/models/a", "/models/b")
    with pytest.raises(LoadFailed, match="a:1 is not available"):
        await bench.answered_by("auto")
    await bench.pool.close()


@pytest.mark.parametrize("name", ["a", "auto"])
@on_loop
async def test_a_model_that_was_named_or_pinned_is_never_replaced(name: str) -> None:
    bench = Failing(is_pinned=True)
    bench.fail("/models/a")
    with pytest.raises(LoadFailed, match="a:1"):
        await bench.answered_by(name)
    assert len(bench.names.wanted) == 1
    await bench.pool.close()


@pytest.mark.parametrize(("name", "is_pinned"), [("a", False), ("auto", True), ("auto", False)])
@on_loop
async def test_a_prompt_that_the_loaded_session_has_no_room_for_is_answered_by_a_longer_one(
    name: str, is_pinned: bool
) -> None:
    bench = Failing(is_pinned=is_pinned)
    bench.launcher.prompt_tokens = 2000
    assert await bench.answered_by(name, Terms(keep_alive=KeepAlive(None))) == "a:1"
    assert bench.names.longer == [(2000, USUAL_ANSWER_TOKENS)]
    contexts = [worker.loaded.context_tokens for worker in bench.launcher.workers if worker.loaded is not None]
    assert contexts == [1024, 4096]
    shown = bench.pool.snapshot()[-1]  # the one that serves
    assert (shown.context_tokens, shown.active, shown.expires_s) == (4096, 0, None)
    assert await bench.answered_by(name) == "a:1"
    assert len(bench.launcher.workers) == 2
    await bench.pool.close()


@on_loop
async def test_a_prompt_that_is_too_long_for_the_model_itself_is_refused_and_nothing_is_loaded_again() -> None:
    bench = Failing()
    bench.launcher.prompt_tokens = 5000
    with pytest.raises(ContextLengthExceeded, match=r"5000 tokens.* 4096 tokens"):
        await bench.answered_by("a")
    assert len(bench.launcher.workers) == 1
    assert bench.pool.snapshot()[0].active == 0
    await bench.pool.close()


@on_loop
async def test_where_a_longer_context_cannot_be_loaded_the_next_best_model_answers() -> None:
    bench = Failing()
    await bench.answered_by("a")
    bench.launcher.prompt_tokens = 2000
    bench.launcher.workers[0].prompt_tokens = 2000  # type: ignore[attr-defined]
    bench.fail("/models/a")
    with pytest.raises(LoadFailed, match="loaded with 1024 tokens"):
        await bench.answered_by("a")
    assert await bench.answered_by("auto") == "b:1"
    await bench.pool.close()


@on_loop
async def test_a_request_says_how_long_its_model_stays() -> None:
    bench = Failing()
    await bench.answered_by("a", Terms(keep_alive=KeepAlive(None)))
    assert bench.pool.snapshot()[0].expires_s is None
    await bench.answered_by("a")
    assert bench.pool.snapshot()[0].expires_s is not None
    await bench.pool.close()


@on_loop
async def test_a_request_s_own_deadline_ends_the_wait_and_the_answer() -> None:
    bench = Failing()
    with pytest.raises(AnswerTimedOut, match="that the request has"):
        await bench.answered_by("a", Terms(deadline_s=0.0))
    await bench.pool.close()
    bench = Failing()
    bench.launcher.pause_s = 5.0
    with pytest.raises(AnswerTimedOut, match=r"0\.05 s that the request allows"):
        await bench.answered_by("a", Terms(deadline_s=0.05))
    await bench.pool.close()


@pytest.mark.parametrize(
    ("failed", "error", "param"),
    [
        (Failed(request_id="r", code="invalid_request", message="no"), InvalidRequest, "messages"),
        (Failed(request_id="r", code="invalid_request", message="no", param="tools"), InvalidRequest, "tools"),
        (
            Failed(request_id="r", code="unsupported_parameter", message="no", param="min_p"),
            UnsupportedParameter,
            "min_p",
        ),
        (Failed(request_id="r", code="generation_failed", message="no"), GenerationFailed, None),
    ],
)
def test_what_a_worker_refuses_is_the_error_that_it_says_and_names_what_is_to_blame(
    failed: Failed, error: type[SlmregError], param: str | None
) -> None:
    made = as_error(failed)
    assert type(made) is error
    assert getattr(made, "param", None) == param


PRESET = Preset(name="p", base="a", system="Be terse.", parameters={"seed": 7, "num_ctx": 1024})


@on_loop
async def test_what_a_preset_says_reaches_the_worker() -> None:
    bench = Bench(finished())
    bench.names.resolved["p"] = Resolved(A, PLAN, preset=PRESET)
    await bench.ask("p")
    (asked,) = bench.launcher.asked
    assert isinstance(asked, Generate)
    assert asked.messages == [{"role": "system", "content": "Be terse."}]
    assert asked.sampling.seed == 7


@pytest.mark.parametrize(
    ("terms", "num_ctx", "is_there"),
    [(NO_TERMS, 1024, True), (NO_TERMS, 1025, False), (Terms(context_tokens=1025), 1, False)],
)
@on_loop
async def test_the_context_that_a_preset_or_a_request_asks_for_has_to_be_there(
    terms: Terms, num_ctx: int, is_there: bool
) -> None:
    bench = Bench(finished())
    preset = replace(PRESET, parameters={"num_ctx": num_ctx})
    bench.names.resolved["p"] = Resolved(A, PLAN, preset=preset)
    request = Generate(request_id="r", messages=[])
    if is_there:
        await (await bench.answers.start("p", request, terms=terms)).aclose()
    else:
        with pytest.raises(UnsupportedParameter, match="asks for 1025 tokens of context, and a:1 is loaded with 1024"):
            await bench.answers.start("p", request, terms=terms)
    (session,) = bench.pool.snapshot()
    assert session.active == 0
    await bench.pool.close()
