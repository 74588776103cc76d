from __future__ import annotations

import logging
from typing import cast

import pytest

from daemon.answer_limits import AnswerLimits
from daemon.answers import Answers
from daemon.catalog import Catalog
from daemon.pool.protocol import Delta, Generate
from registry.errors import InvalidRequest
from tests.daemon.test_answers import PLAN, Bench, finished
from tests.fakes import on_loop

LIMITS = AnswerLimits(choices=2, tokens=100)
ASKED = Generate(request_id="r", messages=[{"role": "user", "content": "the secret word"}])


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (Generate(request_id="r", messages=[], choices=3), "n"),
        (Generate(request_id="r", messages=[], max_tokens=101), "max_tokens"),
    ],
)
@on_loop
async def test_who_asks_for_more_is_told_by_the_name_of_the_field(request_: Generate, param: str) -> None:
    bench = bench_with(LIMITS)
    with pytest.raises(InvalidRequest, match=r"more than max_\w+ = \d+") as raised:
        await bench.answers.start("a", request_)
    assert raised.value.param == param
    assert bench.launcher.asked == []


def test_who_leaves_the_end_open_gets_one_only_where_the_context_is_longer() -> None:
    assert LIMITS.within(ASKED, 1024).max_tokens == 100
    assert LIMITS.within(ASKED, 100) is ASKED
    some = Generate(request_id="r", messages=[], choices=2, max_tokens=100)
    LIMITS.check(some)
    assert LIMITS.within(some, 1024) is some


@pytest.mark.parametrize("logs_prompts", [False, True])
def test_no_word_of_a_prompt_is_logged_unless_that_is_wanted(
    logs_prompts: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @on_loop
    async def ask() -> None:
        bench = bench_with(LIMITS, logs_prompts=logs_prompts)
        async with await bench.answers.start("a", ASKED) as answer:
            async for _event in answer:
                pass
        await bench.pool.close()
        assert bench.launcher.asked[-1].max_tokens == 100  # type: ignore[union-attr]

    with caplog.at_level(logging.DEBUG):
        ask()
    assert "answer.finished" in caplog.text
    assert ("secret" in caplog.text) is logs_prompts


def bench_with(limits: AnswerLimits, *, logs_prompts: bool = False) -> Bench:
    bench = Bench(Delta("r", "the secret answer", 1), finished())
    assert PLAN.context_tokens > limits.tokens
    bench.answers = Answers(
        cast(Catalog, bench.names),
        bench.pool,
        bench.learner,
        request_timeout_s=lambda: 5,
        limits=lambda: limits,
        logs_prompts=lambda: logs_prompts,
    )
    return bench
