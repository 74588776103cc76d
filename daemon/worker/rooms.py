"""How much room, in tokens of key-value cache, a request gets in its row: what it needs, never the model's context.

A row cannot grow, and most clients do not say how long their answer may get. Such a request starts with an equal share
of the context, so that others can run beside it, and moves to a larger row if it must.
"""

from __future__ import annotations

from dataclasses import dataclass

# Room is rounded up to this, so that a backend sees few different sizes.
ROOM_STEP_TOKENS = 256
# Room for an answer of unknown length behind a prompt that takes more than half of its share of the context, and what
# is worth beginning an answer in a row that is there already.
FIRST_ANSWER_TOKENS = 256
# What requests run at the same time where nobody says how many. Eight rows that advance in one call give three times
# the tokens of one (measured, 0.5B, int4, two cores); rows that take turns give none more than one.
BATCHED_ROWS = 8
OTHER_ROWS = 4
# That many get no more than four unless each has a room for a short prompt and the beginning of its answer.
_LEAST_SHARE_TOKENS = 2 * FIRST_ANSWER_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """``tokens`` is what a new row gets. A row that is there already will do from ``least_tokens`` on.

    ``most_tokens``, at least ``tokens``, is the largest that may be taken for this: an old row over it would keep
    others waiting.
    """

    tokens: int
    least_tokens: int
    most_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """The rooms in a key-value cache of ``cache_tokens`` that up to ``max_concurrent`` requests share.

    One request may have ``context_tokens`` of it, and takes ``least_row_tokens`` however little it needs.
    """

    context_tokens: int
    cache_tokens: int
    max_concurrent: int
    least_row_tokens: int = 0

    def rounded(self, tokens: int) -> int:
        """``tokens`` in whole steps, at most the context, but no less than every row takes."""
        return max(min(-(-tokens // ROOM_STEP_TOKENS) * ROOM_STEP_TOKENS, self.context_tokens), self.least_row_tokens)

    def first(self, prompt_tokens: int, max_tokens: int | None) -> int:
        """Room for a prompt and the answer to it; ``max_tokens`` None: nobody knows how long that gets.

        It then gets the whole context at once, where there is a context for everybody.
        """
        if max_tokens is not None:
            return self.rounded(prompt_tokens + max_tokens)
        share = self.cache_tokens // self.max_concurrent
        is_short = 2 * prompt_tokens <= share or share >= self.context_tokens
        return self.rounded(share if is_short else prompt_tokens + FIRST_ANSWER_TOKENS)

    def least(self, prompt_tokens: int, max_tokens: int) -> int:
        """Room enough to begin: it rarely pays to read a prompt again for the sake of a long answer that may come."""
        return min(prompt_tokens + min(max_tokens, FIRST_ANSWER_TOKENS), self.context_tokens)

    def with_next_turn(
        self, room_tokens: int, least_tokens: int, *, running_tokens: int, running_rows: int, is_last: bool
    ) -> Room:
        """A room that also holds a second turn as long as the first, where there is enough for all.

        Half of what the requests that may still come could have is left to them. An old row may take all the rest, or
        be twice as large as what is needed, or of any size when nobody else is there (``is_last`` in the queue).
        """
        others = self.max_concurrent - running_rows - 1
        left_to_others = others * self.cache_tokens // self.max_concurrent // 2
        free = self.cache_tokens - running_tokens - left_to_others
        tokens = max(room_tokens, min(self.rounded(2 * least_tokens), free // ROOM_STEP_TOKENS * ROOM_STEP_TOKENS))
        is_alone = is_last and not running_rows
        most_tokens = max(tokens, self.context_tokens if is_alone else max(free, 2 * room_tokens))
        return Room(tokens=tokens, least_tokens=least_tokens, most_tokens=most_tokens)


def rows_of(asked: int, cache_tokens: int, *, is_batched: bool) -> int:
    """How many requests may run at the same time in a cache of ``cache_tokens``; ``asked`` 0: worked out."""
    if asked:
        return asked
    has_room = cache_tokens >= BATCHED_ROWS * _LEAST_SHARE_TOKENS
    return BATCHED_ROWS if is_batched and has_room else OTHER_ROWS
