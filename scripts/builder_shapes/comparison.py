"""Random prompts through rows that join, are cut, copied and left at random, against the generator's greedy answers.

The batched rows are given the generator's tokens, so that one choice between two tokens that are as likely as each
other does not make everything after it incomparable. Their logits are held against the generator's at every position.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from daemon.worker.backends.base import Backend
from daemon.worker.backends.batched.proof import TOLERANCE
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed

_MOST_PIECE_TOKENS = 128
_MOST_ANSWER_TOKENS = 24
_JOINS = 0.3  # of the steps
_COPIES = 0.1


@dataclass(slots=True)
class Tally:
    """``worst`` is the largest difference of a logit, as a share of the spread of its position.

    ``ties`` are other greedy choices within ``TOLERANCE`` of the spread, ``wrong`` those beyond, and positions whose
    logits differ by more than that.
    """

    positions: int = 0
    worst: float = 0.0
    worst_of: str = ""
    ties: int = 0
    wrong: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, how: str, ours: Logits, theirs: Logits) -> None:
        spread = float(theirs.std())
        off = float(np.abs(ours - theirs).max()) / spread
        gap = float(theirs.max() - theirs[int(ours.argmax())]) / spread
        self.positions += 1
        if not off <= self.worst:
            self.worst, self.worst_of = off, how
        if not off <= TOLERANCE or gap > TOLERANCE:
            self.wrong += 1
        elif gap > 0:
            self.ties += 1


@dataclass(slots=True)
class Answer:
    """What the generator says: ``logits[k]`` are behind the prompt and the first ``k`` of ``tokens``."""

    prompt: list[int]
    tokens: list[int]
    logits: list[Logits]
    fed: int = 0


def answers(backend: Backend, seed: int, count: int, *, vocabulary: int, context_tokens: int) -> list[Answer]:
    """``count`` greedy answers to random prompts, many of which begin like another one.

    Raises GenerationFailed.
    """
    chance, most_tokens = random.Random(seed), context_tokens - _MOST_ANSWER_TOKENS
    made: list[Answer] = []
    for _ in range(count):
        size, length = chance.randint(1, most_tokens), chance.randint(1, _MOST_ANSWER_TOKENS)
        prompt = [chance.randrange(vocabulary) for _ in range(size)]
        if made and chance.random() < _JOINS:
            before = chance.choice(made).prompt
            prompt = [*before[: chance.randint(1, len(before))], *prompt][:most_tokens]
        made.append(_answer(backend, prompt, length))
    return made


def _answer(backend: Backend, prompt: list[int], length: int) -> Answer:
    row = backend.open(len(prompt) + length)
    logits = [backend.extend(row, prompt).copy()]
    tokens: list[int] = []
    for _ in range(length):
        tokens.append(int(logits[-1].argmax()))
        logits.append(backend.extend(row, tokens[-1:]).copy())
    backend.close(row)
    return Answer(prompt, tokens, logits)


def compare(backend: Backend, expected: Sequence[Answer], seed: int, *, most_rows: int) -> Tally:
    """Raises GenerationFailed where the batched backend fails."""
    return _Walk(backend, expected, random.Random(seed), most_rows).done()


class _Walk:
    """One order of joining and leaving."""

    def __init__(self, backend: Backend, expected: Sequence[Answer], chance: random.Random, most_rows: int) -> None:
        self._backend = backend
        self._waiting = list(expected)
        self._chance = chance
        self._most_rows = most_rows
        self._rows: dict[int, Answer] = {}
        self._tally = Tally()

    def done(self) -> Tally:
        while self._waiting or self._rows:
            is_full = len(self._rows) >= self._most_rows
            if self._waiting and (not self._rows or (not is_full and self._chance.random() < _JOINS)):
                self._join(self._waiting.pop())
            acts: list[Callable[[], None]] = [self._decode] * 8 + [self._verify, self._cut]
            self._chance.choice(acts)()
            self._leave()
        return self._tally

    def _join(self, answer: Answer) -> None:
        answer.fed = 0
        row, held = self._opened(answer)
        rest = answer.prompt[held:]
        while rest:
            size = self._chance.randint(1, _MOST_PIECE_TOKENS)
            logits = self._backend.extend(row, rest[:size])
            rest = rest[size:]
            if not rest:
                self._tally.add("behind a prompt", logits, answer.logits[0])
            else:
                self._decode()
        self._rows[row] = answer

    def _opened(self, answer: Answer) -> tuple[int, int]:
        """A row, empty or with what another one has in common with the prompt."""
        room = len(answer.prompt) + len(answer.tokens)
        for row, other in self._rows.items():
            common = _common(other.prompt, answer.prompt[:-1])
            if common and self._chance.random() < 0.5:
                return self._backend.copy(row, common, room), common
        return self._backend.open(room), 0

    def _decode(self) -> None:
        chosen = [row for row in self._rows if self._chance.random() < 0.9 and self._left(row)]
        batch = [(row, self._rows[row].tokens[self._rows[row].fed]) for row in chosen]
        for (row, _), result in zip(batch, self._backend.decode(batch), strict=True):
            if isinstance(result, GenerationFailed):
                raise result
            answer = self._rows[row]
            answer.fed += 1
            self._tally.add("in a batch", result, answer.logits[answer.fed])

    def _verify(self) -> None:
        for row in self._some():
            answer = self._rows[row]
            size = self._chance.randint(1, self._left(row))
            checked = self._backend.verify(row, answer.tokens[answer.fed : answer.fed + size])
            for logits in checked:
                answer.fed += 1
                self._tally.add("where tokens are checked", logits, answer.logits[answer.fed])

    def _cut(self) -> None:
        """Back into the answer, or into the prompt, whose end is then read again."""
        for row in self._some():
            answer = self._rows[row]
            if answer.fed:
                answer.fed = self._chance.randrange(answer.fed)
                self._backend.rewind(row, len(answer.prompt) + answer.fed)

    def _some(self) -> Iterator[int]:
        rows = [row for row in self._rows if self._left(row)]
        if rows and getattr(self._backend, "can_verify", False):
            yield self._chance.choice(rows)

    def _left(self, row: int) -> int:
        answer = self._rows[row]
        return len(answer.tokens) - answer.fed

    def _leave(self) -> None:
        for row in [row for row in self._rows if not self._left(row)]:
            self._backend.close(row)
            del self._rows[row]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    same = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        same += 1
    return same
