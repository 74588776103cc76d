"""How a text may go on, guessed from what is in it already (prompt lookup), and whether it pays to check a guess.

Answers that quote, edit or extract repeat long pieces of their prompts. Where the last tokens have been in the text
before, those that followed them then are a draft of what comes now. The model checks a whole draft in one call, which
costs far less than as many single ones; what it would not have said itself is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# What has to be alike for a guess, and how much more tells nothing new.
LEAST_MATCH = 2
LONGEST_MATCH = 8
# Of the places that end alike only the latest are looked at: two tokens of white space may be everywhere.
_MOST_PLACES = 16
# How often the first token of a guess is right, by the tokens that were alike before it (4 stands for more), until the
# text itself has told.
_FIRST_RATES = {2: 0.3, 3: 0.45, 4: 0.6}
_MOST_CLASS = max(_FIRST_RATES)
# How much the latest guess counts against those before it.
_WEIGHT = 0.2
# A guess is checked only where it wins that much: neither times nor chances are exact. Worked out for answers of a
# model with random weights: half as many checks as with 1.1 won a little more, and quoted text lost 4 %.
LEAST_GAIN = 1.3


@dataclass(frozen=True, slots=True)
class Guess:
    """``tokens`` that may come next. ``chances`` say of each how likely it is that it and all before it are right."""

    tokens: Sequence[int]
    chances: Sequence[float]

    def cut(self, length: int) -> Guess:
        """The first ``length`` tokens of it."""
        return Guess(self.tokens[:length], self.chances[:length])


class PromptLookup:
    """The guesses for one text, ``most_tokens`` at a time.

    It learns from every guess how often those are right in this text, whether they were checked in one call or the
    tokens came one by one. So a text without repetitions costs a look into a table for each token, and no calls.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        # Where the latest occurrence of two tokens ends, and for each such place where the one before it does.
        self._latest: dict[tuple[int, int], int] = {}
        self._earlier: list[int] = [0, 0]
        self._rates = dict(_FIRST_RATES)
        self._close_rate = 0.0
        self._is_close = False
        self._guessed: Sequence[int] = ()
        self._guessed_at = 0
        self._matched = 0

    def guess(self, tokens: Sequence[int]) -> Guess:
        """How ``tokens``, those of the last call and more, may go on."""
        self._learn(tokens)
        for place in range(len(self._earlier), len(tokens)):
            pair = (tokens[place - 2], tokens[place - 1])
            self._earlier.append(self._latest.get(pair, 0))
            self._latest[pair] = place
        place, self._matched = self._found(tokens)
        self._guessed = _following(tokens, place, self._most_tokens) if place else ()
        self._guessed_at = len(tokens)
        if self._is_close:
            self._is_close = False
            return Guess((), ())
        return Guess(self._guessed, self._chances())

    def record_close(self, chosen: int, *, is_close: bool) -> None:
        """Of a draft that was checked ``chosen`` tokens were taken, and then one was too close to call if ``is_close``.

        That one is to be taken by itself: the next guess is none.
        """
        self._is_close = is_close
        for was_close in [False] * chosen + [True] * is_close:
            self._close_rate += _WEIGHT * (was_close - self._close_rate)

    def _learn(self, tokens: Sequence[int]) -> None:
        came = tokens[self._guessed_at : self._guessed_at + len(self._guessed)]
        for index, token in enumerate(came):
            is_right = token == self._guessed[index]
            rate = self._rates[self._class(index)]
            self._rates[self._class(index)] = rate + _WEIGHT * (is_right - rate)
            if not is_right:
                break

    def _chances(self) -> list[float]:
        chances: list[float] = []
        chance = 1.0
        for index in range(len(self._guessed)):
            chance *= self._rates[self._class(index)] * (1 - self._close_rate)
            chances.append(chance)
        return chances

    def _class(self, index: int) -> int:
        """With each token of a guess that is right, one more is alike."""
        return min(self._matched + index, _MOST_CLASS)

    def _found(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The place in ``tokens`` before which most are like the last ones, the latest of several; and how many."""
        best, longest = 0, 0
        place = self._latest.get((tokens[-2], tokens[-1]), 0) if len(tokens) >= LEAST_MATCH else 0
        for _ in range(_MOST_PLACES):
            if not place or longest == LONGEST_MATCH:
                break
            length = _common_end(tokens, place)
            if length > longest:
                best, longest = place, length
            place = self._earlier[place]
        return best, longest


def worth_checking(
    guesses: Sequence[Guess], step_s: float | None, seconds_of: Callable[[int], float | None]
) -> list[int]:
    """How many tokens to check of the guess for each of the rows that generate; empty: it does not pay.

    ``step_s`` is the time of a call that gives one token to every row; ``seconds_of`` that of one that checks so many
    tokens in a single row. Every row must win by it: its own tokens come sooner although it waits for the others'.
    """
    lengths: list[int] = []
    gains: list[float] = []
    seconds = 0.0
    for guess in guesses:
        expected, best = 1.0, (0.0, 0, 1.0, 0.0)
        for length, chance in enumerate(guess.chances, start=1):
            expected += chance
            # The last token that a row has is not in it yet, and goes along.
            call_s = seconds_of(length + 1)
            if call_s:
                best = max(best, (expected / call_s, length, expected, call_s))
        lengths.append(best[1])
        gains.append(best[2])
        seconds += best[3]
    is_worth_it = step_s is not None and all(lengths) and min(gains) * step_s > LEAST_GAIN * seconds
    return lengths if is_worth_it else []


def _common_end(tokens: Sequence[int], place: int) -> int:
    """How many tokens before ``place`` are like those at the end of ``tokens``, ``LONGEST_MATCH`` at most."""
    length = LEAST_MATCH
    last = len(tokens) - 1
    while length < min(LONGEST_MATCH, place) and tokens[place - 1 - length] == tokens[last - length]:
        length += 1
    return length


def _following(tokens: Sequence[int], place: int, count: int) -> list[int]:
    """The ``count`` tokens from ``place`` on. Where the text ends before, it goes on as it did from there."""
    following = list(tokens[place : place + count])
    while len(following) < count:
        following.append(following[len(following) - (len(tokens) - place)])
    return following
