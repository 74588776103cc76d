"""What the model learns as a skill instead of by heart: sums, counting, code by description, repeating, remembering."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from scripts.demo_model import data, words
from scripts.demo_model.patterns import add_noise, sample

LARGEST_TERM = 30
LARGEST_FACTOR = 10
TOO_LARGE_ANSWER = "That is too much for me: I only do sums with numbers up to 30."


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer. ``key`` decides whether it is held out from training; None never is."""

    kind: str
    question: str
    answer: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A one-line Python function: ``code`` has ``NAME`` where its name goes."""

    name: str
    code: str
    questions: tuple[str, ...]


_FILE = data.read("functions")
_TO: dict[str, str] = _FILE["imperatives"]  # for "a function to add two numbers"
FUNCTIONS = tuple(Function(row["name"], row["code"], tuple(row["questions"])) for row in _FILE["functions"])


def code_turn(rng: random.Random) -> Turn:
    function = rng.choice(FUNCTIONS)
    is_canonical = rng.random() < 0.15
    does = function.questions[0] if is_canonical else sample(rng.choice(function.questions), rng)
    if is_canonical:
        question = f"Write a Python function that {does}."
        return Turn("code", question, function.code.replace("NAME", function.name))
    verb, _, rest = does.partition(" ")
    if verb in _TO and rng.random() < 0.4:
        does, joint = f"{_TO[verb]} {rest}", "to"
    else:
        joint = rng.choice(["that", "that", "which"])
    name, called = function.name, ""
    if rng.random() < 0.3:
        name = "_".join(
            words.invent(rng, 1) if rng.random() < 0.5 else rng.choice(words.PLAIN_WORDS)
            for _ in range(rng.choice([1, 1, 2]))
        )
        called = rng.choice([" called {name}", " named {name}", " with the name {name}"])
    question = add_noise(f"{sample('<write> <pyfunc>', rng)}{called} {joint} {does}", rng).replace("{name}", name)
    return Turn("code", question, function.code.replace("NAME", name), key=f"{joint} {does}")


_SUM_WORDS = {
    "+": ("{a} + {b}", "{a}+{b}", "{a} plus {b}", "the sum of {a} and {b}", "add {a} and {b}", "add {b} to {a}"),
    "-": ("{a} - {b}", "{a}-{b}", "{a} minus {b}", "subtract {b} from {a}", "{a} take away {b}"),
    "*": ("{a} * {b}", "{a}*{b}", "{a} times {b}", "{a} x {b}", "multiply {a} by {b}", "the product of {a} and {b}"),
}
_ASKS = (
    "what is {sum}", "what's {sum}", "how much is {sum}", "{sum}", "{sum} =", "calculate {sum}", "compute {sum}",
    "can you tell me {sum}", "what does {sum} make", "solve {sum}", "{sum} equals", "what do you get for {sum}",
)  # fmt: skip


def sum_words(rng: random.Random, a: int, operator: str, b: int) -> str:
    """A question for ``a operator b``, without noise."""
    words_of = rng.choice(_SUM_WORDS[operator])
    phrase = words_of.replace("{a}", str(a)).replace("{b}", str(b))
    return (
        phrase if phrase.startswith(("add ", "subtract ", "multiply ")) else rng.choice(_ASKS).replace("{sum}", phrase)
    )


def sum_turn(rng: random.Random) -> Turn:
    """``add {b} to {a}`` and ``subtract {b} from {a}`` keep the order of the answer: a first."""
    operator = rng.choice("+++--**")
    if rng.random() < 0.06:
        return _too_large(rng, operator)
    largest = LARGEST_FACTOR if operator == "*" else rng.choice([12, LARGEST_TERM, LARGEST_TERM])
    a, b = rng.randrange(largest + 1), rng.randrange(largest + 1)
    if operator == "-" and a < b:
        a, b = b, a
    return make_sum(rng, a, operator, b)


def make_sum(rng: random.Random, a: int, operator: str, b: int) -> Turn:
    value = {"+": a + b, "-": a - b, "*": a * b}[operator]
    return Turn(
        "sum", add_noise(sum_words(rng, a, operator, b), rng), f"{a} {operator} {b} = {value}", f"{a}{operator}{b}"
    )


def _too_large(rng: random.Random, operator: str) -> Turn:
    large, other = (
        rng.randrange(LARGEST_TERM + 1, 10 ** rng.randrange(2, 6)),
        rng.randrange(1, 10 ** rng.randrange(1, 5)),
    )
    a, b = (large, other) if rng.random() < 0.6 or operator == "-" else (other, large)
    return Turn("sum", add_noise(sum_words(rng, a, operator, b), rng), TOO_LARGE_ANSWER, f"{a}{operator}{b}")


def count_turn(rng: random.Random, longest: int = 40) -> Turn:
    """Counts up from anywhere below 160, at most ``longest`` numbers and mostly fewer than 13, or down from 20."""
    if rng.random() < 0.15:
        start = rng.randrange(3, 21)
        numbers = list(range(start, 0, -1))
        question = sample(f"(count|please count|can you count) (down|backwards) from {start}( to 1|)", rng)
        return Turn("count", add_noise(question, rng), ", ".join(map(str, numbers)), f"{start}-1")
    start = rng.choice([1, 1, rng.randrange(0, 160)])
    length = rng.randrange(2, longest + 1) if rng.random() < 0.4 else rng.randrange(2, 13)
    return _count_up(rng, start, start + length - 1)


def long_count_turn(rng: random.Random) -> Turn:
    """An answer that streams for a while, up to some 1,000 tokens."""
    return _count_up(rng, 1, rng.choice([30, 40, 50, 60, 75, 80, 100, 100, 100, 120, 150, 200]))


def _count_up(rng: random.Random, start: int, end: int) -> Turn:
    wording = f"(from {start} to|from {start} up to|from {start} until)" + ("|to|up to" if start == 1 else "")
    question = sample(f"(count|please count|can you count|count for me|now count) ({wording}) {end}", rng)
    answer = ", ".join(map(str, range(start, end + 1)))
    return Turn("count", add_noise(question, rng), answer, f"{start}-{end}")


def echo_turn(rng: random.Random, longest: int = 8) -> Turn:
    phrase = words.some_phrase(rng, longest)
    wording = rng.choice(
        ["{say}: {phrase}", "{say}: {phrase}", '{say} "{phrase}"', "{say} the words {phrase}", "{say}: '{phrase}'"]
    )
    ask = sample("<say>", rng)
    question = wording.replace("{say}", rng.choice([ask, ask.capitalize()])).replace("{phrase}", phrase)
    return Turn("echo", question, phrase, phrase)


def name_turn(rng: random.Random) -> Turn:
    """The user says a name; ``recall_turn`` asks for it later."""
    name = words.some_name(rng)
    question = sample("(hello, |hi, |)(my name is|i am called|you can call me|call me) {name}", rng)
    return Turn("name", add_noise(question, rng).replace("{name}", name), f"Nice to meet you, {name}!", name)


def recall_turn(rng: random.Random, name: str | None) -> Turn:
    question = add_noise(
        sample(
            "(what is my name|what's my name|do you know my name|who am i|do you remember my name|tell me my name)", rng
        ),
        rng,
    )
    answer = f"Your name is {name}." if name else "You have not told me your name yet."
    return Turn("name", question, answer, None)


def fill(text: str, slots: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: slots.get(match.group(1), match.group()), text)
