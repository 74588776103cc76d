"""A backend that can do everything, and whose greedy answers repeat themselves like those of small models."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.pool.protocol import Delta, Failed, Finished, ToDaemon
from daemon.worker.answer import AnswerText
from daemon.worker.request import Job
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.scheduler import Scheduler
from registry.errors import GenerationFailed

VOCAB = 64
_DRAWN = np.random.default_rng(0).standard_normal((4999, VOCAB)).astype(np.float32)


class Clock:
    """Stands still but for what a backend adds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Letters:
    """Each token is a character."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(0x100 + token) for token in ids)

    def is_silent(self, token: int) -> bool:
        return False


@dataclass(slots=True)
class Costs:
    """Seconds: of a call for one row, for each row more, for each token more of a draft, and for one of a prompt."""

    first_s: float = 0.01
    more_s: float = 0.002
    drafted_s: float = 0.001
    read_s: float = 0.002


class LoopingBackend:
    """Logits come from the last two tokens, ``novelty`` of them from the whole row: a wrong token in it shows.

    The likeliest by the last two is ahead by at least ``margin``. ``noise`` is what logits of several tokens at once
    are off, as those of other kernels are.
    """

    can_copy = True
    can_verify = True
    can_resize = False
    least_room_tokens = 0

    def __init__(
        self, clock: Clock | None = None, *, novelty: float = 0.3, margin: float = 1.0, noise: float = 0.0
    ) -> None:
        self.clock = clock or Clock()
        self.costs = Costs()
        self.novelty = novelty
        self.margin = margin
        self.noise = noise
        self.rooms: dict[int, int] = {}
        self.rows: dict[int, list[int]] = {}
        self.adapters: dict[int, str | None] = {}
        self.opened = 0
        self.most_reserved = 0
        # Each call by its kind, row and number of tokens.
        self.calls: list[tuple[str, int, int]] = []
        self.failing: set[str] = set()

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        row, self.opened = self.opened, self.opened + 1
        self.rooms[row], self.rows[row], self.adapters[row] = room_tokens, [], adapter
        self.most_reserved = max(self.most_reserved, sum(self.rooms.values()))
        return row

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        self._called("extend", row, len(tokens), self.costs.read_s * len(tokens))
        return self._advance(row, tokens)[-1]

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        self._called("decode", batch[0][0], len(batch), self.costs.first_s + self.costs.more_s * (len(batch) - 1))
        return [self._advance(row, [token])[0] for row, token in batch]

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        self._called("verify", row, len(tokens), self.costs.first_s + self.costs.drafted_s * (len(tokens) - 1))
        logits: Logits = np.stack(self._advance(row, tokens))
        logits[:, ::2] += self.noise
        return logits

    def rewind(self, row: int, length: int) -> None:
        self._called("rewind", row, length, 0)
        assert length <= len(self.rows[row])
        del self.rows[row][length:]

    def resize(self, row: int, room_tokens: int) -> None:
        raise GenerationFailed("rooms stay")

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        self._called("copy", row, length, 0)
        assert length <= len(self.rows[row])
        copy = self.open(room_tokens, self.adapters[row])
        self.rows[copy] = self.rows[row][:length]
        return copy

    def close(self, row: int) -> None:
        del self.rooms[row], self.rows[row], self.adapters[row]

    def count(self, kind: str) -> int:
        return sum(each == kind for each, _, _ in self.calls)

    def tokens(self, kind: str) -> int:
        return sum(tokens for each, _, tokens in self.calls if each == kind)

    def _called(self, kind: str, row: int, tokens: int, seconds: float) -> None:
        self.calls.append((kind, row, tokens))
        self.clock.now += seconds
        if kind in self.failing:
            raise GenerationFailed(f"no {kind} here")

    def _advance(self, row: int, tokens: Sequence[int]) -> list[Logits]:
        advanced = []
        for token in tokens:
            self.rows[row].append(token)
            assert len(self.rows[row]) <= self.rooms[row]
            whole = drawn(bytes(self.rows[row]) + repr(self.adapters[row]).encode())
            logits = 3 * drawn(bytes(self.rows[row][-2:])) + self.novelty * whole
            logits[np.argmax(drawn(bytes(self.rows[row][-2:])))] += self.margin
            advanced.append(logits)
        return advanced


def drawn(seed: bytes) -> Logits:
    logits: Logits = _DRAWN[zlib.crc32(seed) % len(_DRAWN)]
    return logits


def scheduler_of(
    backend: LoopingBackend, *, draft_tokens: int = 8, context: int = 4096, concurrent: int = 4, kept_rows: int = 0
) -> Scheduler:
    return Scheduler(
        backend,
        context_tokens=context,
        max_concurrent=concurrent,
        kept_rows=kept_rows,
        draft_tokens=draft_tokens,
        clock=backend.clock,
    )


def job(
    name: str,
    prompt: Sequence[int],
    max_tokens: int | None = 60,
    *,
    params: SamplingParams | None = None,
    sampler: Sampler | None = None,
    stop: Sequence[str] = (),
    end_ids: frozenset[int] = frozenset(),
    adapter: str | None = None,
) -> Job:
    """Greedy, unless something else is asked for."""
    return Job(
        request_id=name,
        prompt=list(prompt),
        max_tokens=max_tokens,
        end_ids=end_ids,
        sampler=sampler or Sampler(params or SamplingParams(temperature=0), prompt=prompt, end_ids=end_ids),
        text=AnswerText(Letters(), stop),
        adapter=adapter,
    )


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, VOCAB, length)]


def run(subject: Scheduler, limit: int = 20_000) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not subject.is_idle:
        events += subject.step()
        limit -= 1
        assert limit > 0, "the scheduler does not come to an end"
    return events


def answer(subject: Scheduler, *tasks: Job) -> dict[str, list[int]]:
    """The tokens that each request of those that run together was answered with."""
    for task in tasks:
        subject.submit(task)
    events = run(subject)
    return {task.request_id: tokens_of(events, task.request_id) for task in tasks}


def tokens_of(events: Sequence[ToDaemon], name: str) -> list[int]:
    text = "".join(event.text for event in events if isinstance(event, Delta) and event.request_id == name)
    return [ord(character) - 0x100 for character in text]


def ends_of(events: Sequence[ToDaemon]) -> dict[str, Finished | Failed]:
    """The end of each request; each has one."""
    ends = [event for event in events if isinstance(event, Finished | Failed)]
    assert len({end.request_id for end in ends}) == len(ends)
    return {end.request_id: end for end in ends}
