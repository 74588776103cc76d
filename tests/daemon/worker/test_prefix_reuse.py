"""The scheduler with kept rows, against a backend whose next token depends on every token before it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.pool.protocol import Delta, Failed, Finished, ToDaemon
from daemon.worker.answer import AnswerText
from daemon.worker.request import Job
from daemon.worker.rows import REREAD_TOKENS
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.scheduler import Scheduler
from registry.errors import GenerationFailed

VOCAB = 64
CONTEXT = 4096
NEVER = -1


class Letters:
    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(0x100 + token) for token in ids)

    def is_silent(self, token: int) -> bool:
        return False


class HashingBackend:
    """The logits of a row are a hash of its tokens and its adapter: a row with a wrong token in it shows at once."""

    can_verify = False
    least_room_tokens = 0

    def __init__(self, *, can_copy: bool = False, can_rewind: bool = True, can_resize: bool = False) -> None:
        self.can_copy = can_copy
        self.can_resize = can_resize
        self.can_rewind = can_rewind
        self.rooms: dict[int, int] = {}
        self.rows: dict[int, list[int]] = {}
        self.adapters: dict[int, str | None] = {}
        self.read_tokens = 0
        self.rewinds = 0
        self.opened = 0
        self.most_reserved = 0
        self.room_that_fails: int | None = None
        self.copies_fail = False

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        if self.room_that_fails is not None and sum(self.rooms.values()) + room_tokens > self.room_that_fails:
            raise GenerationFailed("no memory")
        row, self.opened = self.opened, self.opened + 1
        self.rooms[row], self.rows[row], self.adapters[row] = room_tokens, [], adapter
        self.most_reserved = max(self.most_reserved, sum(self.rooms.values()))
        return row

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        self.read_tokens += len(tokens)
        self.rows[row] += tokens
        assert len(self.rows[row]) <= self.rooms[row]
        seed = zlib.crc32(bytes(self.rows[row]), zlib.crc32(repr(self.adapters[row]).encode()) % 97)
        logits: Logits = np.random.RandomState(seed).standard_normal(VOCAB).astype(np.float32)
        return logits

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        rows = [row for row, _ in batch]
        assert len(set(rows)) == len(rows), "one row, two requests"
        return [self.extend(row, [token]) for row, token in batch]

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("not here")

    def rewind(self, row: int, length: int) -> None:
        self.rewinds += 1
        if not self.can_rewind:
            raise GenerationFailed("this model cannot")
        assert length <= len(self.rows[row])
        del self.rows[row][length:]

    def resize(self, row: int, room_tokens: int) -> None:
        if not self.can_resize:
            raise GenerationFailed("rooms stay")
        assert room_tokens >= len(self.rows[row])
        self.rooms[row] = room_tokens
        self.most_reserved = max(self.most_reserved, sum(self.rooms.values()))

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        if self.copies_fail:
            raise GenerationFailed("no memory for a copy")
        copy = self.open(room_tokens, self.adapters[row])
        self.rows[copy] = self.rows[row][:length]
        return copy

    def close(self, row: int) -> None:
        del self.rooms[row], self.rows[row], self.adapters[row]


def job(
    name: str,
    prompt: Sequence[int],
    max_tokens: int | None = 8,
    *,
    adapter: str | None = None,
    can_reuse: bool = True,
    seed: int | None = None,
) -> Job:
    params = SamplingParams(temperature=0) if seed is None else SamplingParams(seed=seed)
    return Job(
        request_id=name,
        prompt=list(prompt),
        max_tokens=max_tokens,
        end_ids=frozenset(),
        sampler=Sampler(params),
        text=AnswerText(Letters(), ()),
        adapter=adapter,
        can_reuse=can_reuse,
    )


def scheduler(backend: HashingBackend, *, kept_rows: int = 4, context: int = CONTEXT, concurrent: int = 4) -> Scheduler:
    return Scheduler(backend, context_tokens=context, max_concurrent=concurrent, kept_rows=kept_rows, clock=lambda: 0.0)


def run(subject: Scheduler, limit: int = 20_000) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not subject.is_idle:
        events += subject.step()
        limit -= 1
        assert limit > 0, "the scheduler does not come to an end"
    return events


def answer(subject: Scheduler, task: Job) -> tuple[list[int], Finished]:
    """The tokens of the answer to one request that runs alone, and its end."""
    subject.submit(task)
    events = run(subject)
    (end,) = [event for event in events if isinstance(event, Finished)]
    return tokens_of(events, task.request_id), end


def tokens_of(events: Sequence[ToDaemon], name: str) -> list[int]:
    text = "".join(event.text for event in events if isinstance(event, Delta) and event.request_id == name)
    return [ord(character) - 0x100 for character in text]


def cold(task: Job) -> list[int]:
    return answer(scheduler(HashingBackend(), kept_rows=0), task)[0]


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, VOCAB, length)]


def test_the_next_turn_reads_only_what_is_new() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    first = prompt_of(1000)
    reply, end = answer(subject, job("1", first, 100))
    assert end.cached_tokens == 0
    read_before = backend.read_tokens
    second = [*first, *reply, *prompt_of(30, seed=1)]
    tokens, end = answer(subject, job("2", second, 100))
    # The last token of an answer is never fed, so it is read with the next turn.
    assert end.cached_tokens == 1099
    assert backend.read_tokens - read_before == 31 + 99
    assert tokens == cold(job("2", second, 100))
    assert (backend.opened, backend.rewinds) == (1, 0)


def test_many_turns_in_a_row_go_on_in_their_row() -> None:
    subject = scheduler(HashingBackend(), context=8192)
    history = prompt_of(500)
    cached = []
    for turn in range(6):
        reply, end = answer(subject, job(str(turn), history, 60))
        cached.append(end.cached_tokens > 0.8 * end.prompt_tokens)
        history += [*reply, *prompt_of(20, seed=turn)]
    assert cached == [False, True, True, True, True, True]


def test_another_client_with_the_same_system_prompt_rewinds_to_the_end_of_it() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    system = prompt_of(300)
    answer(subject, job("a", [*system, *prompt_of(40, seed=1)]))
    other = [*system, *prompt_of(40, seed=2)]
    tokens, end = answer(subject, job("b", other))
    assert end.cached_tokens >= 300
    assert backend.rewinds == 1
    assert tokens == cold(job("b", other))


def test_a_prompt_that_was_answered_before_is_read_from_its_last_tokens() -> None:
    subject = scheduler(HashingBackend())
    prompt = prompt_of(200)
    first, _ = answer(subject, job("a", prompt))
    again, end = answer(subject, job("b", prompt))
    assert again == first
    assert end.cached_tokens == 200 - REREAD_TOKENS


def test_the_longest_common_beginning_is_taken() -> None:
    subject = scheduler(HashingBackend())
    base = prompt_of(400)
    answer(subject, job("a", [*base[:100], *prompt_of(50, seed=1)]))
    answer(subject, job("b", [*prompt_of(20, seed=4), *base]))
    answer(subject, job("c", [*base[:20], *prompt_of(300, seed=2)]))
    _, end = answer(subject, job("d", base))
    assert end.cached_tokens == 100


@pytest.mark.parametrize("common", [0, 1, 15])
def test_a_short_common_beginning_is_not_worth_a_row(common: int) -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    prompt = prompt_of(40)
    answer(subject, job("a", prompt))
    _, end = answer(subject, job("b", [*prompt[:common], (prompt[common] + 1) % VOCAB, *prompt_of(40, seed=1)]))
    assert end.cached_tokens == 0
    assert len(backend.rows) == 2


def test_a_long_conversation_is_not_given_up_for_a_short_beginning() -> None:
    subject = scheduler(HashingBackend())
    conversation = prompt_of(1000)
    answer(subject, job("a", conversation))
    _, end = answer(subject, job("b", [*conversation[:100], *prompt_of(20, seed=1)]))
    assert end.cached_tokens == 0
    _, end = answer(subject, job("a2", [*conversation, *prompt_of(20, seed=2)]))
    assert end.cached_tokens == 1000


def test_rows_of_different_adapters_share_nothing() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    prompt = prompt_of(100)
    plain, _ = answer(subject, job("a", prompt))
    tuned, end = answer(subject, job("b", prompt, adapter="style"))
    assert end.cached_tokens == 0
    assert tuned != plain
    again, end = answer(subject, job("c", prompt, adapter="style"))
    assert end.cached_tokens == 100 - REREAD_TOKENS
    assert again == tuned


def test_what_tokens_do_not_tell_is_neither_kept_nor_begun_with_a_kept_row() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    prompt = prompt_of(100)
    answer(subject, job("a", prompt, can_reuse=False))
    assert backend.rooms == {}
    answer(subject, job("b", prompt))
    _, end = answer(subject, job("c", prompt, can_reuse=False))
    assert end.cached_tokens == 0


def test_without_kept_rows_every_row_is_closed_at_its_end() -> None:
    backend = HashingBackend()
    subject = scheduler(backend, kept_rows=0)
    answer(subject, job("a", prompt_of(100)))
    assert backend.rooms == {}
    assert subject.reserved_tokens == 0


def test_no_more_rows_are_kept_than_allowed_and_the_oldest_go_first() -> None:
    backend = HashingBackend()
    subject = scheduler(backend, kept_rows=2)
    for seed in range(4):
        answer(subject, job(str(seed), prompt_of(50, seed=seed)))
    assert len(backend.rooms) == 2
    cached = [answer(subject, job(f"{seed} again", prompt_of(50, seed=seed)))[1].cached_tokens for seed in (3, 2)]
    assert cached == [46, 46]


def test_kept_rows_make_way_for_a_request_that_needs_their_room() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    answer(subject, job("a", prompt_of(100), 900))
    tokens, end = answer(subject, job("b", prompt_of(3000, seed=1), 900))
    assert len(tokens) == end.completion_tokens == 900
    assert backend.most_reserved <= CONTEXT


def test_kept_rows_make_way_when_the_memory_is_short_although_the_budget_is_not() -> None:
    backend = HashingBackend()
    backend.room_that_fails = 1024
    subject = scheduler(backend)
    for seed in range(6):
        answer(subject, job(str(seed), prompt_of(100, seed=seed), 100))
    assert sum(backend.rooms.values()) <= 1024


def test_a_row_whose_room_is_too_small_is_left_and_the_answer_still_whole() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    prompt = prompt_of(40)
    answer(subject, job("a", prompt, 8))
    longer = [*prompt, *prompt_of(900, seed=1)]
    tokens, end = answer(subject, job("b", longer, 50))
    assert end.cached_tokens == 0
    assert tokens == cold(job("b", longer, 50))


def test_an_answer_that_outgrows_a_kept_row_goes_on_in_a_larger_one() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    prompt = prompt_of(200)
    answer(subject, job("a", prompt, 20))
    (room,) = backend.rooms.values()
    tokens, end = answer(subject, job("b", prompt, 2000))
    assert end.cached_tokens == 200 - REREAD_TOKENS
    assert max(backend.rooms.values()) > room
    assert tokens == cold(job("b", prompt, 2000))


def test_a_model_that_cannot_rewind_is_asked_once_and_still_continues_whole_rows() -> None:
    backend = HashingBackend(can_rewind=False)
    subject = scheduler(backend)
    prompt = prompt_of(200)
    first, _ = answer(subject, job("a", prompt))
    again, end = answer(subject, job("b", prompt))
    assert (again, end.cached_tokens, backend.rewinds) == (first, 0, 1)
    more = [*prompt, *first, *prompt_of(20, seed=1)]
    _, end = answer(subject, job("c", more))
    assert end.cached_tokens == 207
    _, end = answer(subject, job("d", more))
    assert (end.cached_tokens, backend.rewinds) == (0, 1)


def test_a_backend_that_copies_shares_one_beginning_with_several_at_once() -> None:
    backend = HashingBackend(can_copy=True)
    subject = scheduler(backend)
    system = prompt_of(300)
    answer(subject, job("first", system))
    read_before = backend.read_tokens
    jobs = [job(name, [*system, *prompt_of(20, seed=seed)]) for seed, name in enumerate("abc", start=1)]
    for each in jobs:
        subject.submit(each)
    events = run(subject)
    ends = {event.request_id: event for event in events if isinstance(event, Finished)}
    assert [ends[name].cached_tokens for name in "abc"] == [300, 300, 300]
    assert backend.read_tokens - read_before == 3 * (20 + 7)
    for seed, name in enumerate("abc", start=1):
        assert tokens_of(events, name) == cold(job(name, [*system, *prompt_of(20, seed=seed)]))


def test_a_copy_that_fails_costs_only_the_reading() -> None:
    backend = HashingBackend(can_copy=True)
    subject = scheduler(backend, context=1024, concurrent=1)
    prompt = prompt_of(100)
    for seed in range(3):
        answer(subject, job(str(seed), [*prompt, *prompt_of(10 + seed, seed=seed)]))
    backend.copies_fail = True
    tokens, _ = answer(subject, job("a", prompt, 600))
    assert tokens == cold(job("a", prompt, 600))


def test_a_copying_backend_begins_a_larger_row_with_the_one_that_was_outgrown() -> None:
    backend = HashingBackend(can_copy=True)
    subject = scheduler(backend, context=3072)
    subject.submit(job("a", prompt_of(100), None))
    events: list[ToDaemon] = []
    while backend.opened < 2:
        events += subject.step()
    outgrown, larger = backend.rows.values()
    assert outgrown == larger[: len(outgrown)]
    assert backend.read_tokens <= len(outgrown) + REREAD_TOKENS + 1
    events += run(subject)
    expected, _ = answer(scheduler(HashingBackend(), kept_rows=0, context=3072), job("a", prompt_of(100), None))
    assert tokens_of(events, "a") == expected


def test_a_cancelled_request_leaves_what_it_has_read() -> None:
    subject = scheduler(HashingBackend())
    prompt = prompt_of(800)
    subject.submit(job("a", prompt))
    for _ in range(3):
        subject.step()
    subject.cancel("a")
    tokens, end = answer(subject, job("b", prompt))
    assert end.cached_tokens == 16 + 2 * 128
    assert tokens == cold(job("b", prompt))


def test_a_huge_kept_row_does_not_make_others_wait_for_one_another() -> None:
    backend = HashingBackend()
    subject = scheduler(backend)
    prompt = prompt_of(100)
    answer(subject, job("huge", prompt, CONTEXT))
    for name in "abc":
        subject.submit(job(name, [*prompt, *prompt_of(10, seed=ord(name))], 50))
    for _ in range(12):
        subject.step()
    assert subject.reserved_tokens <= CONTEXT
    assert len(backend.rooms) >= 3


def test_one_who_is_alone_may_take_even_a_huge_row() -> None:
    subject = scheduler(HashingBackend())
    prompt = prompt_of(100)
    reply, _ = answer(subject, job("huge", prompt, CONTEXT - 600))
    _, end = answer(subject, job("next", [*prompt, *reply[:400], *prompt_of(10, seed=1)], 50))
    assert end.cached_tokens == 500


def test_a_second_turn_finds_its_row_while_others_are_at_work() -> None:
    subject = scheduler(HashingBackend(), context=8192)
    first = prompt_of(1000)
    reply, _ = answer(subject, job("1", first, 256))
    for seed in (1, 2):
        subject.submit(job(f"other {seed}", prompt_of(1000, seed=seed), 600))
    for _ in range(30):
        subject.step()
    subject.submit(job("2", [*first, *reply, *prompt_of(30, seed=3)], 256))
    ends = {event.request_id: event for event in run(subject) if isinstance(event, Finished)}
    assert ends["2"].cached_tokens == 1255


def test_where_rows_can_be_resized_a_kept_one_takes_what_it_holds_and_gets_room_again() -> None:
    backend = HashingBackend(can_resize=True)
    subject = scheduler(backend)
    prompt = prompt_of(100)
    answer(subject, job("a", prompt, 50))
    assert subject.reserved_tokens == sum(backend.rooms.values()) == 149
    assert (subject.pulse().row_tokens, subject.pulse().kept_tokens) == ([], [149])
    tokens, end = answer(subject, job("b", prompt, 900))
    assert (end.cached_tokens, backend.opened) == (100 - REREAD_TOKENS, 1)
    assert tokens == cold(job("b", prompt, 900))


def test_where_rows_can_be_resized_an_answer_that_outgrows_its_row_stays_in_it() -> None:
    backend = HashingBackend(can_resize=True)
    subject = scheduler(backend, kept_rows=0)
    tokens, end = answer(subject, job("a", prompt_of(100), None))
    assert (end.finish_reason, len(tokens)) == ("length", CONTEXT - 100)
    assert (backend.opened, backend.read_tokens, backend.most_reserved) == (1, CONTEXT - 1, CONTEXT)
    assert tokens == cold(job("a", prompt_of(100), None))


def test_a_row_grows_in_place_only_if_nobody_who_came_before_waits_for_the_room() -> None:
    backend = HashingBackend(can_resize=True)
    subject = scheduler(backend, kept_rows=0, context=1024, concurrent=2)
    expected = {name: cold_in(1024, job(name, prompt_of(200, seed=ord(name)), None)) for name in "abc"}
    for name in "abc":
        subject.submit(job(name, prompt_of(200, seed=ord(name)), None))
    events = run(subject)
    assert {name: tokens_of(events, name) for name in "abc"} == expected
    ends = [event.request_id for event in events if isinstance(event, Finished)]
    assert ends == ["a", "b", "c"]
    assert backend.most_reserved <= 1024


def cold_in(context: int, task: Job) -> list[int]:
    return answer(scheduler(HashingBackend(), kept_rows=0, context=context), task)[0]


actions = st.lists(
    st.one_of(
        # A prompt is the beginning of one of three texts and a number of tokens of its own.
        st.tuples(st.just("submit"), st.integers(0, 2), st.integers(0, 500), st.integers(1, 60), st.integers(1, 120)),
        st.tuples(st.just("cancel"), st.integers(0, 12)),
        st.tuples(st.just("step"), st.integers(1, 60)),
    ),
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(
    actions=actions,
    concurrent=st.integers(1, 4),
    kept_rows=st.integers(0, 3),
    can_copy=st.booleans(),
    can_rewind=st.booleans(),
    can_resize=st.booleans(),
    copies_fail=st.booleans(),
)
def test_whatever_is_kept_answers_are_those_without_and_the_budget_holds(
    actions: list[tuple[str, int] | tuple[str, int, int, int, int]],
    concurrent: int,
    kept_rows: int,
    can_copy: bool,
    can_rewind: bool,
    can_resize: bool,
    copies_fail: bool,
) -> None:
    backend = HashingBackend(can_copy=can_copy, can_rewind=can_rewind, can_resize=can_resize)
    backend.copies_fail = copies_fail
    context = 1024
    subject = scheduler(backend, kept_rows=kept_rows, context=context, concurrent=concurrent)
    events: list[ToDaemon] = []
    jobs: dict[str, tuple[list[int], int | None, str | None, int | None]] = {}

    def step() -> None:
        events.extend(subject.step())
        assert subject.reserved_tokens == sum(backend.rooms.values()) <= context

    for kind, *numbers in actions:
        if kind == "submit":
            text, common, own, max_tokens = numbers
            name = str(len(jobs))
            prompt = [*prompt_of(500, seed=text)[:common], *prompt_of(own, seed=len(jobs) + 10)]
            asked = (
                prompt,
                None if max_tokens > 115 else max_tokens,
                "style" if max_tokens % 3 == 0 else None,
                5 if max_tokens % 2 else None,
            )
            jobs[name] = asked
            events += subject.submit(job(name, asked[0], asked[1], adapter=asked[2], seed=asked[3]))
        elif kind == "cancel":
            events += subject.cancel(str(numbers[0]))
        else:
            for _ in range(numbers[0]):
                step()
    while not subject.is_idle:
        step()
    assert len(backend.rooms) <= kept_rows
    for name, (prompt, limit, adapter, seed) in jobs.items():
        (end,) = [event for event in events if isinstance(event, Finished | Failed) and event.request_id == name]
        assert isinstance(end, Finished)
        assert end.cached_tokens <= len(prompt) - REREAD_TOKENS or end.cached_tokens == 0
        plain = scheduler(HashingBackend(), kept_rows=0, context=context, concurrent=concurrent)
        expected, _ = answer(plain, job(name, prompt, limit, adapter=adapter, seed=seed))
        shown = tokens_of(events, name)
        assert shown == (expected if end.finish_reason == "length" else expected[: len(shown)])
