"""The scheduler against a backend that is only bookkeeping: what it does is known from what it was asked."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.pool.protocol import Accepted, Delta, Failed, Finished, Pulse, ToDaemon
from daemon.worker.answer import AnswerText
from daemon.worker.logprobs import Logprobs
from daemon.worker.reasoning import ReasoningSplitter
from daemon.worker.request import Job
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.scheduler import Scheduler
from daemon.worker.tools.calls import Calls
from daemon.worker.tools.feed import Feed, Reading
from daemon.worker.tools.forms import Form
from daemon.worker.tools.parser import ToolCallParser
from registry.errors import GenerationFailed
from registry.model import Markers

VOCAB = 64
END = 0
CONTEXT = 1024


class Letters:
    """A tokenizer whose token 1 is "b", 2 is "c" and so on."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + token % 26) for token in ids)

    def is_silent(self, token: int) -> bool:
        return False


class Bytes:
    def bytes_of(self, token: int) -> bytes:
        return bytes([token])


class FakeBackend:
    """The next token is always the last one plus one, so each row's answer follows from its prompt."""

    def __init__(self, *, least_room_tokens: int = 0) -> None:
        self.least_room_tokens = least_room_tokens
        self.rooms: dict[int, int] = {}
        self.rows: dict[int, list[int]] = {}
        self.calls: list[tuple[str, tuple[int, ...], int]] = []
        self.broken_tokens: set[int] = set()
        self.most_reserved = 0
        self.opened = 0

    can_copy = False
    can_verify = False
    can_resize = False

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        if room_tokens in self.broken_tokens:
            raise GenerationFailed("no memory")
        row, self.opened = self.opened, self.opened + 1
        self.rooms[row], self.rows[row] = max(room_tokens, self.least_room_tokens), []
        self.most_reserved = max(self.most_reserved, sum(self.rooms.values()))
        return row

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        self.calls.append(("extend", (row,), len(tokens)))
        return self._advance(row, tokens)

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        self.calls.append(("decode", tuple(row for row, _ in batch), 1))
        results: list[Logits | GenerationFailed] = []
        for row, token in batch:
            try:
                results.append(self._advance(row, [token]))
            except GenerationFailed as error:
                results.append(error)
        return results

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("not here")

    def rewind(self, row: int, length: int) -> None:
        del self.rows[row][length:]

    def resize(self, row: int, room_tokens: int) -> None:
        raise GenerationFailed("rooms stay")

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        raise GenerationFailed("no copies")

    def close(self, row: int) -> None:
        del self.rooms[row], self.rows[row]

    def _advance(self, row: int, tokens: Sequence[int]) -> Logits:
        if self.broken_tokens & set(tokens):
            raise GenerationFailed("broken row")
        self.rows[row] += tokens
        assert len(self.rows[row]) <= self.rooms[row]
        logits = np.zeros(VOCAB, dtype=np.float32)
        logits[(tokens[-1] + 1) % VOCAB] = 9
        return logits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def job(
    name: str, prompt: Sequence[int] = (1,), max_tokens: int | None = 4, stop: Sequence[str] = (), end: int = END
) -> Job:
    return Job(
        request_id=name,
        prompt=list(prompt),
        max_tokens=max_tokens,
        end_ids=frozenset({end}),
        sampler=Sampler(SamplingParams(temperature=0)),
        text=AnswerText(Letters(), stop),
    )


def scheduler(backend: FakeBackend, *, max_concurrent: int = 4, clock: Clock | None = None) -> Scheduler:
    return Scheduler(backend, context_tokens=CONTEXT, max_concurrent=max_concurrent, clock=clock or Clock())


def run(subject: Scheduler, limit: int = 10_000) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not subject.is_idle:
        events += subject.step()
        limit -= 1
        assert limit > 0, "the scheduler does not come to an end"
    return events


def text_of(events: Sequence[ToDaemon], name: str) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.request_id == name)


def end_of(events: Sequence[ToDaemon], name: str) -> Finished | Failed:
    ends = [event for event in events if isinstance(event, (Finished, Failed)) and event.request_id == name]
    assert len(ends) == 1, f"{name} ended {len(ends)} times"
    return ends[0]


def reason_of(events: Sequence[ToDaemon], name: str) -> str:
    end = end_of(events, name)
    return end.finish_reason if isinstance(end, Finished) else end.code


def order_of_ends(events: Sequence[ToDaemon]) -> list[str]:
    return [event.request_id for event in events if isinstance(event, Finished)]


def test_a_request_is_accepted_then_streamed_then_finished_at_its_length() -> None:
    subject = scheduler(FakeBackend())
    assert subject.submit(job("a", prompt=[5, 6])) == [Accepted("a", 2)]
    events = run(subject)
    assert text_of(events, "a") == "hijk"
    end = end_of(events, "a")
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.prompt_tokens, end.completion_tokens) == ("length", 2, 4)
    assert sum(event.tokens for event in events if isinstance(event, Delta)) == 4


def test_the_end_token_stops_an_answer_and_is_counted_but_never_shown() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(job("a", prompt=[VOCAB - 3], max_tokens=10))
    events = run(subject)
    assert text_of(events, "a") == Letters().decode([VOCAB - 2, VOCAB - 1])
    end = end_of(events, "a")
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.completion_tokens) == ("stop", 3)


def test_a_stop_string_ends_the_answer_before_it() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(job("a", prompt=[1], max_tokens=20, stop=["fg"]))
    events = run(subject)
    assert text_of(events, "a") == "cde"
    assert reason_of(events, "a") == "stop"


def test_text_held_for_a_stop_string_is_shown_when_the_length_ends_the_answer() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(job("a", prompt=[1], max_tokens=3, stop=["ef"]))
    assert text_of(run(subject), "a") == "cde"


def test_without_max_tokens_the_context_is_the_bound() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(job("a", max_tokens=None, end=VOCAB))
    end = end_of(run(subject), "a")
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.completion_tokens) == ("length", CONTEXT - 1)


def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers() -> None:
    subject = scheduler(FakeBackend())
    (failed,) = subject.submit(job("a", prompt=[1] * CONTEXT))
    assert isinstance(failed, Failed)
    assert failed.code == "context_length_exceeded"
    assert (failed.prompt_tokens, failed.context_tokens) == (CONTEXT, CONTEXT)
    assert subject.is_idle


def test_a_prompt_one_token_short_of_the_context_gets_one_token() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(job("a", prompt=[1] * (CONTEXT - 1), max_tokens=50))
    end = end_of(run(subject), "a")
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.completion_tokens) == ("length", 1)


def test_rows_that_generate_advance_together_token_by_token() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("a", prompt=[1], max_tokens=6))
    subject.submit(job("b", prompt=[2], max_tokens=6))
    run(subject)
    together = [rows for kind, rows, _ in backend.calls if kind == "decode" and len(rows) == 2]
    assert len(together) == 4


def test_a_long_prompt_is_read_in_chunks_between_the_tokens_of_others() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("stream", prompt=[1], max_tokens=50))
    subject.step()
    subject.submit(job("long", prompt=[1] * 600, max_tokens=1))
    run(subject)
    chunks = [index for index, (kind, rows, _) in enumerate(backend.calls) if kind == "extend" and rows == (1,)]
    assert [backend.calls[index][2] for index in chunks] == [16, 128, 128, 128, 128, 72]
    between = [later - earlier for earlier, later in itertools.pairwise(chunks)]
    assert between == [2, 2, 2, 2, 2]


def test_a_short_prompt_does_not_wait_for_a_long_one_to_be_read() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("long", prompt=[1] * 600, max_tokens=1))
    subject.step()
    subject.submit(job("short", prompt=[1] * 16, max_tokens=4))
    steps = 0
    while not any(isinstance(event, Delta) and event.request_id == "short" for event in subject.step()):
        steps += 1
    assert steps <= 2


def test_no_more_rows_are_open_than_allowed() -> None:
    backend = FakeBackend()
    subject = scheduler(backend, max_concurrent=2)
    for name in "abcde":
        subject.submit(job(name))
    while not subject.is_idle:
        subject.step()
        assert len(backend.rooms) <= 2
    assert backend.opened == 5


def test_requests_are_admitted_in_order_even_if_a_later_one_would_fit() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("first", max_tokens=600))
    subject.submit(job("large", max_tokens=900))
    subject.submit(job("small", max_tokens=1))
    assert order_of_ends(run(subject)) == ["first", "large", "small"]
    assert backend.most_reserved <= CONTEXT


def test_reserved_room_is_prompt_and_answer_rounded_up_and_at_most_the_context() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("a", prompt=[1] * 250, max_tokens=7))
    subject.step()
    assert (list(backend.rooms.values()), subject.reserved_tokens) == ([512], 512)
    run(subject)
    assert subject.reserved_tokens == 0
    subject.submit(job("b", prompt=[1] * 1000, max_tokens=1000))
    subject.step()
    assert list(backend.rooms.values()) == [CONTEXT]


NEVER = -1


def test_what_rows_take_is_told_with_the_pulse() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(job("a", range(1, 100), max_tokens=100))
    subject.submit(job("b", range(1, 300), max_tokens=100))
    assert subject.pulse() == Pulse(cache_tokens=CONTEXT)
    subject.step()
    assert subject.pulse() == Pulse(row_tokens=[256, 512], reserved_tokens=768, cache_tokens=CONTEXT)
    run(subject)
    assert subject.pulse() == Pulse(cache_tokens=CONTEXT)


def test_requests_of_unknown_length_share_the_context_and_run_together() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    for name in "abcd":
        subject.submit(job(name, max_tokens=None))
    for _ in range(8):
        subject.step()
    assert list(backend.rooms.values()) == [CONTEXT // 4] * 4


def test_an_answer_that_outgrows_its_row_goes_on_in_a_larger_one_as_if_nothing_had_happened() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("a", prompt=[1, 2], max_tokens=None, end=NEVER))
    events = run(subject)
    assert backend.opened == 3  # 256, 512, 1024
    whole = CONTEXT - 2
    assert text_of(events, "a") == Letters().decode([(3 + step) % VOCAB for step in range(whole)])
    end = end_of(events, "a")
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.prompt_tokens, end.completion_tokens) == ("length", 2, whole)


def test_who_outgrows_a_row_waits_before_those_who_came_later_and_not_for_ever() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    for name in "abcdef":
        subject.submit(job(name, max_tokens=None, end=NEVER))
    events = run(subject)
    assert backend.most_reserved <= CONTEXT
    assert order_of_ends(events) == list("abcdef")
    assert {reason_of(events, name) for name in "abcdef"} == {"length"}


def test_a_request_that_waits_for_a_larger_row_can_be_cancelled() -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("a", max_tokens=None, end=NEVER))
    subject.submit(job("b", max_tokens=CONTEXT // 2, end=NEVER))
    subject.submit(job("c", max_tokens=CONTEXT // 4 - 1, end=NEVER))
    subject.step()
    while 0 in backend.rooms:
        subject.step()
    assert list(backend.rooms) == [1]  # "b" goes on; neither "a" nor, behind it, "c" fits beside it
    (*_, finished) = subject.cancel("a")
    assert isinstance(finished, Finished)
    assert finished.finish_reason == "cancelled"
    assert finished.completion_tokens == CONTEXT // 4
    assert reason_of(run(subject), "b") == "length"


def test_a_waiting_request_can_be_cancelled() -> None:
    backend = FakeBackend()
    subject = scheduler(backend, max_concurrent=1)
    subject.submit(job("a"))
    subject.step()
    subject.submit(job("b"))
    (end,) = subject.cancel("b")
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.completion_tokens, end.ttft_s) == ("cancelled", 0, 0.0)
    assert order_of_ends(run(subject)) == ["a"]
    assert backend.opened == 1


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_running_request_is_cancelled_at_once_and_its_row_closed(steps: int) -> None:
    backend = FakeBackend()
    subject = scheduler(backend)
    subject.submit(job("a", prompt=[1] * 300, max_tokens=50))
    for _ in range(steps):
        subject.step()
    assert reason_of(subject.cancel("a"), "a") == "cancelled"
    assert backend.rooms == {}
    assert subject.is_idle
    assert subject.cancel("a") == []


def test_cancelling_an_unknown_request_is_ignored() -> None:
    assert scheduler(FakeBackend()).cancel("nobody") == []


def test_a_row_that_breaks_while_generating_fails_alone() -> None:
    backend = FakeBackend()
    backend.broken_tokens = {13}
    subject = scheduler(backend)
    subject.submit(job("bad", prompt=[10], max_tokens=20))
    subject.submit(job("good", prompt=[30], max_tokens=8))
    events = run(subject)
    assert reason_of(events, "bad") == "generation_failed"
    assert reason_of(events, "good") == "length"
    assert backend.rooms == {}


def test_a_row_that_breaks_in_its_prompt_fails_alone() -> None:
    backend = FakeBackend()
    backend.broken_tokens = {50}
    subject = scheduler(backend)
    subject.submit(job("bad", prompt=[50]))
    subject.submit(job("good", prompt=[30]))
    events = run(subject)
    assert (reason_of(events, "bad"), reason_of(events, "good")) == ("generation_failed", "length")


def test_a_row_that_cannot_be_opened_fails_alone() -> None:
    backend = FakeBackend()
    backend.broken_tokens = {512}
    subject = scheduler(backend)
    subject.submit(job("bad", max_tokens=300))
    subject.submit(job("good"))
    events = run(subject)
    assert (reason_of(events, "bad"), reason_of(events, "good")) == ("generation_failed", "length")


def logprob_job(name: str, prompt: Sequence[int], max_tokens: int, stop: Sequence[str] = ()) -> Job:
    plain = job(name, prompt=prompt, max_tokens=max_tokens, stop=stop)
    return dataclasses.replace(plain, logprobs=Logprobs(Bytes(), 1))


def test_log_probabilities_come_with_the_delta_that_shows_their_text() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(logprob_job("a", [1], 4, stop=["eX"]))
    deltas = [event for event in run(subject) if isinstance(event, Delta)]
    # The "e" is held back until it is known not to begin the stop string.
    shown = [(delta.text, [entry.bytes for entry in delta.logprobs]) for delta in deltas]
    assert shown == [("c", [[2]]), ("d", [[3]]), ("ef", [[4], [5]])]
    assert deltas[0].logprobs[0].top[0].bytes == [2]


def test_text_that_is_cut_off_has_no_log_probabilities_nor_has_the_end_token() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(logprob_job("stop", [1], 9, stop=["ef"]))
    subject.submit(logprob_job("end", [VOCAB - 3], 9))
    events = run(subject)
    told = [(event.request_id, len(event.logprobs)) for event in events if isinstance(event, Delta)]
    assert sorted(told) == [("end", 1), ("end", 1), ("stop", 1), ("stop", 1)]


def test_an_answer_whose_form_is_complete_stops() -> None:
    class TwoTokens:
        left = 2

        def apply(self, logits: Logits) -> Logits:
            return logits.copy()

        def accept(self, token: int) -> None:
            self.left -= 1

        def fitting(self, tokens: Sequence[int]) -> int:
            return min(self.left, len(tokens))

        @property
        def is_complete(self) -> bool:
            return self.left == 0

    subject = scheduler(FakeBackend())
    sampler = Sampler(SamplingParams(temperature=0), constraint=TwoTokens())
    subject.submit(dataclasses.replace(job("a", prompt=[1], max_tokens=9), sampler=sampler))
    events = run(subject)
    assert (text_of(events, "a"), reason_of(events, "a")) == ("cd", "stop")


def test_a_short_prompt_is_answered_within_four_pieces_of_a_long_one_that_is_slow() -> None:
    clock = Clock()

    class SlowBackend(FakeBackend):
        def extend(self, row: int, tokens: Sequence[int]) -> Logits:
            clock.now += 0.005 * len(tokens)
            return super().extend(row, tokens)

    backend = SlowBackend()
    subject = Scheduler(backend, context_tokens=4 * CONTEXT, max_concurrent=4, clock=clock)
    subject.submit(job("long", prompt=[1] * 1000, max_tokens=1))
    for _ in range(5):
        subject.step()
    arrived, calls = clock.now, len(backend.calls)
    subject.submit(job("short", prompt=[1] * 16, max_tokens=2))
    while not any(isinstance(event, Delta) and event.request_id == "short" for event in subject.step()):
        pass
    assert sum(rows == (0,) for _, rows, _ in backend.calls[calls:]) <= 4
    assert clock.now - arrived <= 0.3
    run(subject)
    assert max(tokens for _, rows, tokens in backend.calls if rows == (0,)) == 24


def test_times_are_counted_from_submission() -> None:
    clock = Clock()
    subject = scheduler(FakeBackend(), max_concurrent=1, clock=clock)
    subject.submit(job("a", max_tokens=1))
    subject.submit(job("b", max_tokens=3))
    clock.now += 2
    subject.step()
    clock.now += 5
    subject.step()
    clock.now += 1
    end = end_of(run(subject), "b")
    assert isinstance(end, Finished)
    assert (end.queue_s, end.ttft_s, end.decode_s) == (7.0, 7.0, 1.0)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 1100), st.one_of(st.none(), st.integers(1, 60))),
        st.tuples(st.just("cancel"), st.integers(0, 12), st.none()),
        st.tuples(st.just("step"), st.integers(1, 9), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    actions=actions,
    broken=st.sets(st.integers(0, VOCAB - 1), max_size=2),
    concurrent=st.integers(1, 4),
    least_room=st.sampled_from([0, 400, 2 * CONTEXT]),
)
def test_whatever_happens_every_request_ends_once_and_the_budget_holds(
    actions: list[tuple[str, int, int | None]], broken: set[int], concurrent: int, least_room: int
) -> None:
    backend = FakeBackend(least_room_tokens=least_room)
    backend.broken_tokens = broken
    subject = scheduler(backend, max_concurrent=concurrent)
    events: list[ToDaemon] = []
    submitted = 0
    for kind, number, max_tokens in actions:
        if kind == "submit":
            events += subject.submit(job(str(submitted), prompt=[number % VOCAB] * number, max_tokens=max_tokens))
            submitted += 1
        elif kind == "cancel":
            events += subject.cancel(str(number))
        else:
            for _ in range(number):
                events += subject.step()
    events += run(subject)
    for name in map(str, range(submitted)):
        end_of(events, name)
    assert backend.rooms == {}
    assert backend.most_reserved <= max(CONTEXT, least_room)


def test_rows_that_take_more_than_they_need_are_counted_with_what_they_take() -> None:
    """Layers with a window want all of it however short the text."""
    backend = FakeBackend(least_room_tokens=400)
    subject = scheduler(backend)
    for name in "abc":
        subject.submit(job(name))
    subject.step()
    pulse = subject.pulse()
    assert (pulse.row_tokens, pulse.reserved_tokens, pulse.cache_tokens) == ([400, 400], 800, CONTEXT)
    assert len(order_of_ends(run(subject))) == 3
    assert backend.most_reserved == 800


def held_to(held: Job, *tokens: int) -> Job:
    return replace(held, sampler=Sampler(SamplingParams(temperature=0), constraint=Only(*tokens)))


class Only:
    """Lets an answer be these tokens, one after the other, and nothing else."""

    def __init__(self, *tokens: int) -> None:
        self.left = list(tokens)

    def apply(self, logits: Logits) -> Logits:
        if not self.left:
            raise GenerationFailed("too complex")
        masked = np.full_like(logits, -np.inf)
        masked[self.left[0]] = logits[self.left[0]]
        return masked

    def accept(self, token: int) -> None:
        assert token == self.left.pop(0)

    def fitting(self, tokens: Sequence[int]) -> int:
        same = [token == wanted for token, wanted in zip(tokens, self.left, strict=False)]
        return [*same, False].index(False)

    @property
    def is_complete(self) -> bool:
        return self.left == []


def test_an_answer_is_what_its_constraint_lets_it_be_and_ends_with_it() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(held_to(job("a", max_tokens=20), 9, 3, 9))
    subject.submit(job("b", prompt=[1], max_tokens=4))
    events = run(subject)
    assert (text_of(events, "a"), reason_of(events, "a")) == ("jdj", "stop")
    assert text_of(events, "b") == "cdef"


def test_a_constraint_that_does_not_fit_ends_at_the_length() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(held_to(job("a", max_tokens=2), 9, 3, 9))
    events = run(subject)
    assert (text_of(events, "a"), reason_of(events, "a")) == ("jd", "length")


def test_a_constraint_that_cannot_go_on_fails_only_its_own_request() -> None:
    subject = scheduler(FakeBackend())
    subject.submit(held_to(job("a")))
    subject.submit(job("b"))
    events = run(subject)
    assert (reason_of(events, "a"), reason_of(events, "b")) == ("generation_failed", "length")


def test_reasoning_is_reported_apart_and_counted() -> None:
    subject = scheduler(FakeBackend())
    reasoning = ReasoningSplitter(Markers("c", "f"))
    subject.submit(replace(job("a", prompt=[1], max_tokens=6), text=AnswerText(Letters(), reasoning=reasoning)))
    events = run(subject)
    assert text_of(events, "a") == "gh"
    assert "".join(event.reasoning for event in events if isinstance(event, Delta)) == "de"
    end = end_of(events, "a")
    assert isinstance(end, Finished)
    assert (end.reasoning_tokens, end.completion_tokens) == (4, 6)


@pytest.mark.parametrize(
    ("end", "max_tokens", "reason"),
    [(8, 20, "tool_calls"), (END, 6, "length")],
)
def test_an_answer_with_calls_that_ends_by_itself_says_so(end: int, max_tokens: int, reason: str) -> None:
    """The call is ``c``, and stays without arguments: only the end of the answer shows that."""

    def read(feed: Feed, calls: Calls) -> Reading[bool]:
        calls.whole((yield from feed.take_while(str.isalpha, most=9)), {})
        return True

    subject = scheduler(FakeBackend())
    text = AnswerText(Letters(), tools=ToolCallParser((Form("c", (read,)),)))
    subject.submit(replace(job("a", prompt=[1], max_tokens=max_tokens, end=end), text=text))
    events = run(subject)
    assert [call.name for event in events if isinstance(event, Delta) for call in event.tool_calls] == ["defgh"]
    assert (text_of(events, "a"), reason_of(events, "a")) == ("", reason)
