"""The dialogues that the demo model is trained on: one or many turns, with or without a system message and tools.

Invariant: the same seed gives the same dialogues, and a question has one answer in one context. A wording (or a pair
of numbers, or a phrase to repeat) whose key is held out never appears in training, only in ``held_out``.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from scripts.demo_model import abilities, knowledge, tools, words
from scripts.demo_model.knowledge import Topic
from scripts.demo_model.patterns import add_noise, is_plain, sample
from scripts.demo_model.skills import (
    Turn,
    code_turn,
    count_turn,
    echo_turn,
    fill,
    long_count_turn,
    name_turn,
    recall_turn,
    sum_turn,
)

Message = dict[str, Any]
HELD_OUT_SHARE = 25  # one key in so many is kept out of training
CANONICAL_SHARE = 0.15  # of a topic's turns; the canonical question is the one README shows
SYSTEM_SHARE = 0.3
# Copying comes first: sums, names, paths and tool arguments all need it, and answers that can be learned by heart give
# it too little to learn from. Without drills it was still unreliable after 1,500 steps.
DRILL_SHARE = 0.14
LONGEST_DRILL_WORDS = 24
SHARES = (0.34, 0.14, 0.52)  # with tools, nothing but numbers, anything else
LENGTHS = (0.4, 0.22, 0.16, 0.17, 0.035, 0.015)  # of dialogues with 1, 2, 3, 4-7, 8-23 and 24-47 questions

# What no model can do without a tool.
LIVE_ABILITIES = (abilities.WEATHER, abilities.TIME, abilities.TIMER, abilities.CONVERT)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Messages and tools as the OpenAI API has them; ``kind`` is that of the first question."""

    kind: str
    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()


def is_held_out(key: str | None) -> bool:
    return key is not None and zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0


def training_dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """``count`` dialogues with no held-out key in them, copying drills first."""
    rng = random.Random(seed)
    drills = int(count * DRILL_SHARE)
    for _ in range(drills):
        yield _copying_drill(rng)
    for _ in range(count - drills):
        make = rng.choices((_tool_dialogue, _numbers_drill, _plain_dialogue), SHARES)[0]
        yield make(rng)


def held_out_dialogues(seed: int, per_kind: int) -> Iterator[Dialogue]:
    """Dialogues of one question each, none of which was trained on; the last message is the expected answer."""
    rng = random.Random(seed)
    for kind, (make, _) in TURNS.items():
        for _ in range(per_kind):
            turn = _draw(make, rng, held_out=True)
            yield Dialogue(kind, (_user(turn.question), _assistant(turn.answer)))
    for _ in range(per_kind):
        offers = tools.some_offers(rng)
        yield Dialogue("tool", tuple(_tool_call(rng.choice(offers), rng, held_out=True)), _schemas(offers))


def topic_turn(topics: tuple[Topic, ...], kind: str, rng: random.Random) -> Turn:
    topic = rng.choice(topics)
    slots = _slots(rng)
    canonical = topic.questions[0]
    if is_plain(canonical) and rng.random() < CANONICAL_SHARE:
        question = add_noise(canonical, rng) if rng.random() < 0.5 else canonical
        return Turn(kind, question, topic.answer)
    wording = sample(rng.choice(topic.questions), rng)
    question = fill(add_noise(wording, rng), slots)
    # Small talk has few wordings, and none can be guessed from the others: only its noise is held out.
    key = question if topics is knowledge.SMALL_TALK else wording
    return Turn(kind, question, fill(topic.answer, slots), None if wording == canonical else key)


def unknown_turn(rng: random.Random) -> Turn:
    wording = sample(rng.choice(knowledge.UNKNOWN.questions), rng)
    question = fill(add_noise(wording, rng), {"thing": words.some_thing(rng), "other": words.some_thing(rng)})
    return Turn("unknown", question, knowledge.UNKNOWN.answer, question)


def no_tool_turn(rng: random.Random) -> Turn:
    made = tools.offer(rng.choice(LIVE_ABILITIES), rng)
    question, _ = tools.ask(made, rng)
    return Turn("no-tool", question, knowledge.NO_TOOL_ANSWER, question)


# How each kind of turn is made, and its share.
TURNS: dict[str, tuple[Callable[[random.Random], Turn], float]] = {
    "slmreg": (lambda rng: topic_turn(knowledge.ABOUT_SLMREG, "slmreg", rng), 0.32),
    "small-talk": (lambda rng: topic_turn(knowledge.SMALL_TALK, "small-talk", rng), 0.14),
    "unknown": (unknown_turn, 0.10),
    "no-tool": (no_tool_turn, 0.02),
    "code": (code_turn, 0.12),
    "sum": (sum_turn, 0.14),
    "count": (count_turn, 0.03),
    "echo": (echo_turn, 0.08),
}


def _slots(rng: random.Random) -> dict[str, str]:
    return {"model": words.some_model(rng), "task": rng.choice(words.TASKS), "path": words.some_path(rng)}


def _draw(make: Callable[[random.Random], Turn], rng: random.Random, *, held_out: bool) -> Turn:
    while True:
        turn = make(rng)
        if is_held_out(turn.key) is held_out:
            return turn


def _turn(rng: random.Random, kinds: tuple[str, ...] = tuple(TURNS)) -> Turn:
    make = TURNS[rng.choices(kinds, [TURNS[kind][1] for kind in kinds])[0]][0]
    return _draw(make, rng, held_out=False)


def _copying_drill(rng: random.Random) -> Dialogue:
    """One long phrase of real and invented words to repeat."""
    turn = _draw(lambda r: echo_turn(r, LONGEST_DRILL_WORDS), rng, held_out=False)
    return Dialogue(turn.kind, (_user(turn.question), _assistant(turn.answer)))


def _numbers_drill(rng: random.Random) -> Dialogue:
    """Sums and short counts in a row: many answers in few tokens."""
    kinds = rng.choices(("sum", "count"), (0.85, 0.15), k=rng.randrange(4, 13))
    turns = [_draw(sum_turn if kind == "sum" else _short_count, rng, held_out=False) for kind in kinds]
    messages = [message for turn in turns for message in (_user(turn.question), _assistant(turn.answer))]
    return Dialogue(kinds[0], tuple(messages))


def _short_count(rng: random.Random) -> Turn:
    return count_turn(rng, longest=12)


def _plain_dialogue(rng: random.Random) -> Dialogue:
    if rng.random() < 0.03:
        turn = _draw(long_count_turn, rng, held_out=False)
        return Dialogue("count", (_user(turn.question), _assistant(turn.answer)))
    length = rng.choices([1, 2, 3, rng.randrange(4, 8), rng.randrange(8, 24), rng.randrange(24, 48)], LENGTHS)[0]
    turns = [_turn(rng) for _ in range(length)]
    name: str | None = None
    if rng.random() < 0.1:
        at = rng.randrange(len(turns) + 1)
        if rng.random() < 0.75:
            turns.insert(at, told := _draw(name_turn, rng, held_out=False))
            name, at = told.key, at + 1
        turns.insert(rng.randrange(at, len(turns) + 1), recall_turn(rng, name))
    messages = [message for turn in turns for message in (_user(turn.question), _assistant(turn.answer))]
    return Dialogue(turns[0].kind, (*_system(rng), *messages))


def _tool_dialogue(rng: random.Random) -> Dialogue:
    offers = tools.some_offers(rng)
    messages: list[Message] = []
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        if rng.random() < 0.7:
            messages += _tool_exchange(rng.choice(offers), rng)
        else:
            turn = _turn(rng, _kinds_beside(offers))
            messages += [_user(turn.question), _assistant(turn.answer)]
    return Dialogue("tool", (*_system(rng), *messages), _schemas(offers))


def _kinds_beside(offers: list[tools.Offer]) -> tuple[str, ...]:
    """Kinds of question that none of the offered tools is meant for."""
    offered = {made.ability for made in offers}
    kinds = ["slmreg", "small-talk", "code", "echo"]
    if not offered & {abilities.CALCULATOR, abilities.EXPRESSION}:
        kinds.append("sum")
    if not offered & {abilities.SEARCH, abilities.TRANSLATE, abilities.MESSAGE}:
        kinds.append("unknown")
    if not offered & set(LIVE_ABILITIES):
        kinds.append("no-tool")
    return tuple(kinds)


def _tool_exchange(made: tools.Offer, rng: random.Random) -> list[Message]:
    messages = list(_tool_call(made, rng, held_out=False))
    if rng.random() < 0.6:
        result, answer = tools.result_and_answer(made.ability, rng)
        messages += [{"role": "tool", "content": result}, _assistant(answer)]
    return messages


def _tool_call(made: tools.Offer, rng: random.Random, *, held_out: bool) -> tuple[Message, Message]:
    while True:
        question, arguments = tools.ask(made, rng)
        if is_held_out(question) is held_out:
            break
    call = {"type": "function", "function": {"name": made.name, "arguments": arguments}}
    return _user(question), {"role": "assistant", "content": None, "tool_calls": [call]}


def _schemas(offers: list[tools.Offer]) -> tuple[Message, ...]:
    return tuple(made.schema for made in offers)


def _system(rng: random.Random) -> tuple[Message, ...]:
    if rng.random() >= SYSTEM_SHARE:
        return ()
    return ({"role": "system", "content": rng.choice(words.SYSTEM_MESSAGES)},)


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
