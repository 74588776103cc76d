"""Answers with guessed tokens are those without, sooner; where guessing does not pay it is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.pool.protocol import Delta, Failed, Finished, Guide, ToDaemon
from daemon.worker.decoding import TIE_MARGIN
from daemon.worker.guidance import Guidance
from daemon.worker.logprobs import Logprobs
from daemon.worker.request import Job
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from registry.errors import GenerationFailed
from tests.daemon.worker.drawn import DEMO, END_IDS, VOCABULARY
from tests.daemon.worker.drawn import text_of as text_in
from tests.daemon.worker.drawn import tokens_of as tokens_in
from tests.daemon.worker.looping import (
    VOCAB,
    Clock,
    LoopingBackend,
    answer,
    ends_of,
    job,
    prompt_of,
    run,
    scheduler_of,
    tokens_of,
)

PROMPT = prompt_of(40)
# Without novelty an answer is soon a loop.
LOOP = 0.0


def plain(task: Callable[[], Job], novelty: float = LOOP) -> list[int]:
    """The answer without guesses."""
    (tokens,) = answer(scheduler_of(LoopingBackend(novelty=novelty), draft_tokens=0), task()).values()
    return tokens


QUOTED = plain(lambda: job("a", PROMPT, 60))
QUOTING = [*PROMPT, *QUOTED, *PROMPT]


def test_an_answer_that_repeats_itself_comes_in_fewer_calls() -> None:
    backend = LoopingBackend(novelty=LOOP)
    tokens = answer(scheduler_of(backend), job("a", PROMPT, 400))["a"]
    assert tokens == plain(lambda: job("a", PROMPT, 400))
    assert len(tokens) == 400
    assert backend.count("decode") + backend.count("verify") < 200


def test_an_answer_that_quotes_its_prompt_comes_in_fewer_calls() -> None:
    backend = LoopingBackend(novelty=LOOP)
    assert answer(scheduler_of(backend), job("a", QUOTING, 60))["a"] == QUOTED == plain(lambda: job("a", QUOTING, 60))
    assert backend.count("decode") + backend.count("verify") < 20


@pytest.mark.parametrize("draft_tokens", [1, 3, 8])
def test_no_more_tokens_are_guessed_at_once_than_allowed(draft_tokens: int) -> None:
    backend = LoopingBackend(novelty=LOOP)
    answer(scheduler_of(backend, draft_tokens=draft_tokens), job("a", PROMPT, 200))
    assert max(tokens for kind, _, tokens in backend.calls if kind == "verify") == draft_tokens + 1


def test_nothing_is_guessed_where_it_is_switched_off_or_cannot_be_checked() -> None:
    off = LoopingBackend(novelty=LOOP)
    answer(scheduler_of(off, draft_tokens=0), job("a", QUOTING, 100))
    unable = LoopingBackend(novelty=LOOP)
    unable.can_verify = False
    answer(scheduler_of(unable), job("a", QUOTING, 100))
    assert (off.count("verify"), unable.count("verify")) == (0, 0)


def test_a_text_without_repetitions_costs_next_to_no_calls() -> None:
    backend = LoopingBackend(novelty=30.0)
    answer(scheduler_of(backend), job("a", PROMPT, 300))
    assert backend.count("verify") <= 3


def test_checking_that_turns_out_to_be_slow_is_given_up() -> None:
    backend = LoopingBackend(novelty=LOOP)
    backend.costs.drafted_s = 0.05
    answer(scheduler_of(backend), job("a", PROMPT, 300))
    assert 1 <= backend.count("verify") <= 10


def test_streams_that_all_repeat_themselves_are_checked_one_after_the_other_if_all_win() -> None:
    backend = LoopingBackend(novelty=LOOP)
    answers = answer(scheduler_of(backend), *(job(name, QUOTING, 150) for name in "ab"))
    assert answers == dict.fromkeys("ab", plain(lambda: job("a", QUOTING, 150)))
    assert len({row for kind, row, _ in backend.calls if kind == "verify"}) == 2


def test_many_streams_advance_together() -> None:
    backend = LoopingBackend(novelty=LOOP)
    tasks = [job(str(seed), QUOTING, 60) for seed in range(6)]
    answer(scheduler_of(backend, concurrent=6), *tasks)
    assert backend.count("verify") == 0


def test_a_cancel_between_the_calls_of_several_rows_ends_only_its_own() -> None:
    backend = LoopingBackend(novelty=LOOP)
    subject = scheduler_of(backend)
    for name in "ab":
        subject.submit(job(name, QUOTING, 150))
    events: list[ToDaemon] = []
    while backend.count("verify") < 1:
        events += subject.step()
    events += subject.cancel("b")
    events += run(subject)
    assert tokens_of(events, "a") == plain(lambda: job("a", QUOTING, 150))
    cancelled = ends_of(events)["b"]
    assert isinstance(cancelled, Finished)
    assert cancelled.finish_reason == "cancelled"
    assert backend.rooms == {}


@pytest.mark.parametrize("max_tokens", range(20, 32))
def test_a_length_that_ends_within_a_guess_is_kept(max_tokens: int) -> None:
    backend = LoopingBackend(novelty=LOOP)
    subject = scheduler_of(backend)
    subject.submit(job("a", QUOTING, max_tokens))
    events = run(subject)
    end = ends_of(events)["a"]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.completion_tokens) == ("length", max_tokens)
    assert tokens_of(events, "a") == QUOTED[:max_tokens]
    assert backend.count("verify") > 1


@pytest.mark.parametrize("place", range(20, 32))
def test_a_stop_within_a_guess_ends_the_answer_there(place: int) -> None:
    stop = "".join(chr(0x100 + token) for token in QUOTED[: place + 1])
    backend = LoopingBackend(novelty=LOOP)
    subject = scheduler_of(backend, kept_rows=2)
    subject.submit(job("a", QUOTING, 100, stop=[stop]))
    events = run(subject)
    end = ends_of(events)["a"]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.completion_tokens) == ("stop", place + 1)
    assert backend.count("verify") > 1
    # What is kept holds no token that was only guessed.
    (row,) = backend.rows.values()
    assert row == [*QUOTING, *QUOTED][: len(row)]
    assert len(row) >= len(QUOTING) + place


@pytest.mark.parametrize("min_tokens", [0, 50])
def test_an_end_that_the_text_had_before_is_not_guessed_but_found(min_tokens: int) -> None:
    end_id = QUOTED[25]
    ends = frozenset({end_id})

    def task() -> Job:
        sampler = Sampler(SamplingParams(temperature=0), end_ids=ends, min_tokens=min_tokens)
        return job("a", QUOTING, 60, sampler=sampler, end_ids=ends)

    backend = LoopingBackend(novelty=LOOP)
    tokens = answer(scheduler_of(backend), task())["a"]
    assert tokens == plain(task)
    assert end_id not in tokens
    assert len(tokens) >= min_tokens
    assert backend.count("verify") > 0


def test_an_answer_of_guesses_outgrows_its_row_and_goes_on() -> None:
    backend = LoopingBackend(novelty=LOOP)
    tokens = answer(scheduler_of(backend, context=1024), job("a", PROMPT, None))["a"]
    assert len(tokens) == 1024 - len(PROMPT)
    assert backend.opened > 1
    assert tokens[:300] == plain(lambda: job("a", PROMPT, 300))


def test_a_check_that_fails_ends_only_its_own_request() -> None:
    backend = LoopingBackend(novelty=LOOP)
    backend.failing = {"verify"}
    subject = scheduler_of(backend)
    subject.submit(job("a", QUOTING, 100))
    events = run(subject)
    assert isinstance(ends_of(events)["a"], Failed)
    assert backend.rooms == {}


def test_a_model_that_cannot_rewind_reads_the_row_again_and_guesses_no_more() -> None:
    backend = LoopingBackend(novelty=1.0)
    backend.failing = {"rewind"}
    tokens = answer(scheduler_of(backend), job("a", QUOTING, 200))["a"]
    assert tokens == plain(lambda: job("a", QUOTING, 200), novelty=1.0)
    assert backend.count("rewind") == 1
    last = max(index for index, (kind, _, _) in enumerate(backend.calls) if kind == "rewind")
    assert "verify" not in {kind for kind, _, _ in backend.calls[last:]}


def test_close_choices_are_made_from_single_calls() -> None:
    """The noise turns every choice that is closer than it."""
    noisy = LoopingBackend(novelty=LOOP, margin=0.0, noise=0.9 * TIE_MARGIN)
    exact = LoopingBackend(novelty=LOOP, margin=0.0)
    tokens = answer(scheduler_of(noisy), job("a", PROMPT, 400))["a"]
    assert tokens == answer(scheduler_of(exact, draft_tokens=0), job("a", PROMPT, 400))["a"]
    assert noisy.count("verify") > 10


class Steady(LoopingBackend):
    """The same two tokens in turn, with a rival that is so close that single calls and others do not agree."""

    def _advance(self, row: int, tokens: Sequence[int]) -> list[Logits]:
        advanced = []
        for token in tokens:
            self.rows[row].append(token)
            logits = np.zeros(VOCAB, dtype=np.float32)
            logits[1 + token % 2] = 5
            logits[30] = 5 - 0.5 * TIE_MARGIN if len(self.rows[row]) % 5 == 0 else 0
            advanced.append(logits)
        return advanced


def test_a_tie_in_a_guess_is_taken_again_alone_and_what_came_before_it_counts() -> None:
    backend = Steady(noise=TIE_MARGIN)
    tokens = answer(scheduler_of(backend), job("a", [1, 2] * 10, 100))["a"]
    assert tokens == [1, 2] * 50
    assert backend.count("verify") > 10
    assert len(backend.calls) < 90


class Form:
    """Every third token must be one of two; it notices when it is asked to go on with what was not chosen."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def _allows(self, place: int, token: int) -> bool:
        return place % 3 != 2 or token in {5, 6}

    def apply(self, logits: Logits) -> Logits:
        masked = logits.copy()
        for token in range(VOCAB):
            if not self._allows(len(self.accepted), token):
                masked[token] = -np.inf
        return masked

    def accept(self, token: int) -> None:
        if not self._allows(len(self.accepted), token):
            raise GenerationFailed("not in this form")
        self.accepted.append(token)

    def fitting(self, tokens: Sequence[int]) -> int:
        fits = [self._allows(len(self.accepted) + place, token) for place, token in enumerate(tokens)]
        return [*fits, False].index(False)

    @property
    def is_complete(self) -> bool:
        return len(self.accepted) == 120


def test_a_form_goes_on_only_by_what_was_chosen() -> None:
    forms = [Form(), Form()]

    def task(form: Form) -> Job:
        return job("a", PROMPT, 200, sampler=Sampler(SamplingParams(temperature=0), constraint=form))

    backend = LoopingBackend(novelty=LOOP)
    tokens = answer(scheduler_of(backend), task(forms[0]))["a"]
    assert tokens == forms[0].accepted == plain(lambda: task(forms[1]))
    assert len(tokens) == 120
    assert backend.count("verify") > 5


class Bytes:
    def bytes_of(self, token: int) -> bytes:
        return bytes([token])


def test_every_token_has_the_log_probability_of_its_own_place() -> None:
    def deltas(draft_tokens: int) -> list[tuple[str, list[object]]]:
        subject = scheduler_of(LoopingBackend(novelty=LOOP), draft_tokens=draft_tokens)
        subject.submit(replace(job("a", PROMPT, 80), logprobs=Logprobs(Bytes(), 2)))
        return [(event.text, [*event.logprobs]) for event in run(subject) if isinstance(event, Delta)]

    assert deltas(8) == deltas(0)


sampling_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0]),
    top_p=st.sampled_from([1.0, 0.8]),
    top_k=st.sampled_from([0, 5]),
    seed=st.integers(0, 3),
    repetition_penalty=st.sampled_from([1.0, 1.05]),
    frequency_penalty=st.sampled_from([0.0, 0.05]),
)
asked = st.tuples(st.integers(0, 4), st.integers(1, 120), sampling_params)


@settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(asked, min_size=1, max_size=4),
    novelty=st.sampled_from([0.0, 0.3, 1.0]),
    draft_tokens=st.integers(1, 9),
    steps=st.lists(st.integers(0, 12), min_size=4, max_size=4),
    kept_rows=st.integers(0, 2),
)
def test_whatever_is_guessed_answers_are_those_without_and_every_request_ends_once(
    requests: list[tuple[int, int, SamplingParams]],
    novelty: float,
    draft_tokens: int,
    steps: list[int],
    kept_rows: int,
) -> None:
    backend = LoopingBackend(Clock(), novelty=novelty)
    backend.costs.drafted_s = 0.0001
    backend.costs.more_s = 0.02
    backend.costs.read_s = 0.02
    subject = scheduler_of(backend, draft_tokens=draft_tokens, context=1024, kept_rows=kept_rows)
    tasks = {
        str(index): (prompt_of(30, seed=text) * 2, max_tokens, params)
        for index, (text, max_tokens, params) in enumerate(requests)
    }
    events: list[ToDaemon] = []
    for (name, (prompt, max_tokens, params)), pause in zip(tasks.items(), steps, strict=False):
        subject.submit(job(name, prompt, max_tokens, params=params))
        for _ in range(pause):
            events += subject.step()
    events += run(subject)
    assert backend.most_reserved <= 1024
    assert set(ends_of(events)) == set(tasks)
    for name, (prompt, max_tokens, params) in tasks.items():
        alone = scheduler_of(LoopingBackend(novelty=novelty), draft_tokens=0, context=1024)
        expected = answer(alone, job(name, prompt, max_tokens, params=params))[name]
        assert tokens_of(events, name) == expected


class Undecided(LoopingBackend):
    """Likes one token after an odd number of words and another after an even one; what else comes, it leaves open."""

    def __init__(self, odd: int, even: int) -> None:
        super().__init__()
        self.liked = (even, odd)

    def _advance(self, row: int, tokens: Sequence[int]) -> list[Logits]:
        advanced = []
        for token in tokens:
            self.rows[row].append(token)
            logits = np.zeros(VOCABULARY, dtype=np.float32)
            logits[self.liked[len(self.rows[row]) // 7 % 2]] = 5
            advanced.append(logits)
        return advanced


def test_a_grammar_is_never_ahead_of_the_answer() -> None:
    guidance = Guidance(DEMO / "tokenizer.json", END_IDS)
    odd, even = tokens_in("d") + tokens_in("e")

    def answered(draft_tokens: int) -> tuple[list[int], int]:
        form = guidance.constraint(Guide(kind="regex", text="(abc[de]){40}"))
        sampler = Sampler(SamplingParams(temperature=0), end_ids=frozenset(END_IDS), constraint=form)
        backend = Undecided(odd, even)
        task = job("a", [1], 400, sampler=sampler, end_ids=frozenset(END_IDS))
        return answer(scheduler_of(backend, draft_tokens=draft_tokens), task)["a"], backend.count("rewind")

    tokens, rewinds = answered(8)
    assert tokens == answered(0)[0]
    assert re.fullmatch("(abc[de]){40}", text_in(tokens))
    assert rewinds > 0
