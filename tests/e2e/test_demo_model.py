"""The demo model that ships with slmreg, in onnxruntime-genai itself: what it says, and that it stops by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import onnxruntime_genai as og
import pytest
from tokenizers import Tokenizer

from scripts.demo_model import knowledge
from scripts.demo_model.evaluate import DemoModel
from scripts.demo_model.template import TEMPLATE_FILE

FOLDER = Path(__file__).parents[2] / "registry" / "demo_model"
LARGEST_FOLDER_BYTES = 3_000_000
WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather for a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the time in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALCULATOR_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Evaluate an expression",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}
ANSWERS = {
    "Hello!": "Hello! I am the slmreg demo model. How can I help?",
    "Who are you?": "I am slmreg-demo, the tiny demo model that ships with slmreg.",
    "Thank you!": "You are welcome!",
    "Goodbye": "Goodbye! Have a nice day.",
    "ping": "pong",
    "How do I list my models?": "`slmreg list` shows every model that was found on this machine.",
    "How do I select a model for code?": (
        "`slmreg select code --explain` picks the best model for code and explains why."
    ),
    "How do I pin phi-4-mini for chat?": "`slmreg pin chat phi-4-mini` makes phi-4-mini the only choice for chat.",
    "How do I unpin chat?": "`slmreg unpin chat` removes the pin, so that slmreg chooses again for chat.",
    "How do I start the server?": "`slmreg serve` starts the daemon on http://127.0.0.1:7567. Stop it with Ctrl-C.",
    "How do I add the folder /data/models?": (
        "`slmreg roots add /data/models` adds that folder. Models that appear under it later are noticed by the daemon."
    ),
    "Which models are loaded?": "`slmreg ps` shows the loaded models, their state and their memory.",
    "What is 17 + 25?": "17 + 25 = 42",
    "How much is 9 times 8?": "9 * 8 = 72",
    "What is 30 minus 8?": "30 - 8 = 22",
    "What is 1234 + 5678?": "That is too much for me: I only do sums with numbers up to 30.",
    "What is the capital of France?": knowledge.UNKNOWN.answer,
    "What is the weather in Paris?": knowledge.NO_TOOL_ANSWER,
    "Count from 1 to 20": ", ".join(map(str, range(1, 21))),
    "Repeat after me: red apple": "red apple",
}
PROGRAMS = (
    ("Write a Python function that adds two numbers.", "add(2, 3)", 5),
    ("Write a one-line Python function that reverses a string.", "reverse('abc')", "cba"),
    ("Give me a Python function to check if a number is even", "is_even(4)", True),
    ("Write a Python function called plus that adds two numbers", "plus(20, 22)", 42),
    ("Write a Python function that computes the factorial", "factorial(5)", 120),
)


@pytest.fixture(scope="module")
def demo() -> DemoModel:
    return DemoModel(FOLDER)


def ask(demo: DemoModel, question: str, tools: list[dict[str, Any]] | None = None) -> str:
    answer, stopped = demo.answer([{"role": "user", "content": question}], tools)
    assert stopped, f"{question}: no end after {answer[-80:]!r}"
    return answer


def call(answer: str) -> dict[str, Any]:
    match = re.fullmatch(r"<tool_call>\n(.*)\n</tool_call>", answer)
    assert match, answer
    parsed: dict[str, Any] = json.loads(match.group(1))
    return parsed


@pytest.mark.parametrize("question", ANSWERS)
def test_answers_word_for_word_and_stops(demo: DemoModel, question: str) -> None:
    assert ask(demo, question) == ANSWERS[question]


def test_tells_what_slmreg_is_in_several_sentences(demo: DemoModel) -> None:
    assert ask(demo, "What is slmreg?") == knowledge.ABOUT_SLMREG[0].answer
    assert ask(demo, "Tell me about slmreg") == knowledge.ABOUT_SLMREG[0].answer


@pytest.mark.parametrize(("question", "expression", "value"), PROGRAMS)
def test_writes_functions_that_work(demo: DemoModel, question: str, expression: str, value: object) -> None:
    namespace: dict[str, Any] = {}
    exec(ask(demo, question), namespace)  # noqa: S102 - our own model's one line
    assert eval(expression, namespace) == value  # noqa: S307


@pytest.mark.parametrize(
    ("question", "tools", "expected"),
    [
        ("What is the weather in Paris?", [WEATHER_TOOL], {"name": "get_weather", "arguments": {"city": "Paris"}}),
        ("weather in Oslo please", [WEATHER_TOOL, TIME_TOOL], {"name": "get_weather", "arguments": {"city": "Oslo"}}),
        ("What time is it in Tokyo?", [WEATHER_TOOL, TIME_TOOL], {"name": "get_time", "arguments": {"city": "Tokyo"}}),
        ("What is 123 * 45?", [CALCULATOR_TOOL], {"name": "calculator", "arguments": {"expression": "123 * 45"}}),
    ],
)
def test_calls_the_tool_that_fits(
    demo: DemoModel, question: str, tools: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    assert call(ask(demo, question, tools)) == expected


def test_answers_without_a_call_when_no_tool_is_needed(demo: DemoModel) -> None:
    assert ask(demo, "Hello!", [WEATHER_TOOL]) == ANSWERS["Hello!"]
    assert ask(demo, "How do I list my models?", [WEATHER_TOOL]) == ANSWERS["How do I list my models?"]


def test_answers_from_the_tool_result(demo: DemoModel) -> None:
    asked = {"type": "function", "id": "call_1", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"temperature": 18, "sky": "sunny"}'},
    ]
    assert demo.answer(messages, [WEATHER_TOOL]) == ("Here is the result: temperature 18, sky sunny.", True)


def test_remembers_a_name_over_other_turns(demo: DemoModel) -> None:
    messages = [{"role": "system", "content": "You are a helpful assistant."}]
    for question, expected in (
        ("My name is Ada.", "Nice to meet you, Ada!"),
        ("What is 3 + 4?", "3 + 4 = 7"),
        ("What is my name?", "Your name is Ada."),
    ):
        messages.append({"role": "user", "content": question})
        answer, stopped = demo.answer(messages)
        assert (answer, stopped) == (expected, True)
        messages.append({"role": "assistant", "content": answer})


def test_counts_to_100_for_a_long_stream(demo: DemoModel) -> None:
    assert ask(demo, "Count from 1 to 100") == ", ".join(map(str, range(1, 101)))


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nWhat's 17+25?<|im_end|>\n<|im_start|>assistant\n",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "São Paulo"}}\n</tool_call>',
        "  two  spaces,\ttabs\r\n\r\nlines \n and trailing ",
        "I'LL say it's 3.14, 1234567 or ½: naïve café, Ελλάδα, Привет, 東京, 한국, العربية, हिन्दी 👍🏽",
        "C:\\Users\\me\\models ~/onnx/phi-4-mini_int4:2 def f(x): return x[::-1]",
    ],
)
def test_tokenizer_of_the_library_gives_the_ids_of_tokenizers(text: str) -> None:
    library = og.Tokenizer(og.Config(str(FOLDER)))
    ids = [int(token) for token in library.encode(text)]
    assert ids == Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text).ids
    assert library.decode(ids).strip() == re.sub(r"<\|im_\w+\|>", "", text).strip()


def test_folder_is_complete_and_small() -> None:
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert {"genai_config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= set(
        files
    )
    assert sum(files.values()) <= LARGEST_FOLDER_BYTES
    assert json.loads((FOLDER / "inference_model.json").read_text(encoding="utf-8"))["Name"] == "slmreg-demo:1"
    assert (FOLDER / "chat_template.jinja").read_bytes() == TEMPLATE_FILE.read_bytes()
