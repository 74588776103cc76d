"""Several prompts of one request: there is one answer at a time, and none is left open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from daemon.answers import Answer
from daemon.api.text_completion import Start, TextCompletion
from daemon.pool.protocol import Delta, Finished
from tests.daemon.test_answers import finished
from tests.fakes import on_loop


class Told:
    """Answers of one word each, and how many are open."""

    def __init__(self, *words: str) -> None:
        self.answers = [OneWord(word) for word in words]

    @property
    def open(self) -> list[bool]:
        return [answer.is_begun and not answer.is_closed for answer in self.answers]

    def completion(self) -> TextCompletion:
        first, *others = self.answers
        first.is_begun = True
        later = [cast(Start, answer.begin) for answer in others]
        return TextCompletion(cast(Answer, first), later, prompts=[answer.word for answer in self.answers])


class OneWord:
    name, prompt_tokens, prompt_text = "a:1", 3, ""

    def __init__(self, word: str) -> None:
        self.word = word
        self.is_begun = self.is_closed = False

    async def begin(self) -> OneWord:
        self.is_begun = True
        return self

    async def __aiter__(self) -> AsyncIterator[Delta | Finished]:
        yield Delta("r", self.word, 1)
        yield finished()

    async def aclose(self) -> None:
        self.is_closed = True


async def take(frames: AsyncIterator[Any], count: int) -> None:
    for _ in range(count):
        await anext(frames)


@on_loop
async def test_an_answer_is_given_back_before_the_next_one_begins() -> None:
    told = Told("one", "two", "three")
    frames = told.completion().frames()
    await take(frames, 2)  # its word, and why it ended
    assert told.open == [True, False, False]
    await take(frames, 1)
    assert told.open == [False, True, False]
    await take(frames, 4)  # the rest, and [DONE]
    assert told.open == [False, False, False]
    assert all(answer.is_begun for answer in told.answers)


@on_loop
async def test_whoever_leaves_in_the_middle_leaves_nothing_open() -> None:
    told = Told("one", "two", "three")
    completion = told.completion()
    await take(completion.frames(), 3)
    await completion.aclose()
    assert told.open == [False, False, False]
    assert not told.answers[2].is_begun
