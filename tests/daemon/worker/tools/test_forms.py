from __future__ import annotations

import json
from typing import Any

import pytest

from daemon.worker.guidance import JSON_STYLE, Guidance
from daemon.worker.tools import forms
from daemon.worker.tools.forms import Form, forms_of, layout_of
from daemon.worker.tools.grammar import calls_grammar
from registry.errors import InvalidRequest
from registry.model import Markers
from tests.daemon.worker.drawn import DEMO, END_IDS, allowed, drawn
from tests.daemon.worker.tools.written import parsed

TOOLS: dict[str, dict[str, Any]] = {
    "add": {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": ["é", '"']}},
        "required": ["a", "b"],
    },
    "now-2": {"properties": {}},
}
ALL = [forms.HERMES, forms.LLAMA, forms.MISTRAL_LIST, forms.MISTRAL_NAMED, forms.PHI, forms.GRANITE, forms.FUNCTOOLS]
ALL += [forms.NEMOTRON, forms.DEEPSEEK, forms.DEEPSEEK_PLAIN]


@pytest.fixture(scope="module")
def guidance() -> Guidance:
    return Guidance(DEMO / "tokenizer.json", END_IDS)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<tool_call>\n{...}\n</tool_call>", (forms.HERMES,)),
        ("<tool_call>\n<function=example>", (forms.HERMES, forms.TAGGED)),
        ("[TOOL_CALLS] [", (forms.MISTRAL_LIST,)),
        ("[TOOL_CALLS]{{ name }}[ARGS]", (forms.MISTRAL_NAMED,)),
        ("<|tool_call|> x <|/tool_call|>", (forms.PHI,)),
        ("<|tool_call|>", (forms.GRANITE,)),
        ("<｜tool▁calls▁begin｜> ```json", (forms.DEEPSEEK,)),
        ("<｜tool▁calls▁begin｜>", (forms.DEEPSEEK_PLAIN,)),
        ('Respond in the format {"name": function name, "parameters": dictionary}', (forms.LLAMA,)),
        ("<|python_tag|>", (forms.LLAMA,)),
        ("<function=f>", (forms.TAGGED, forms.HERMES)),
        ("nothing known", (forms.HERMES,)),
    ],
)
def test_the_template_tells_in_which_form_a_model_writes(template: str, expected: tuple[Form, ...]) -> None:
    assert forms_of(template) == expected


def test_what_a_catalog_says_counts_where_the_template_says_nothing() -> None:
    assert forms_of("", Markers("<|tool_call|>", "<|/tool_call|>"))[0].opener == "<|tool_call|>"
    (form,) = forms_of("", Markers("<call>", "</call>"))
    assert parsed(['<call>{"name": "f"}</call>'], form) == ("", [("f", "{}")])
    assert forms_of("<tool_call>", Markers("<call>", "</call>")) == (forms.HERMES,)


def test_tokens_of_the_vocabulary_count_where_nothing_else_tells() -> None:
    """Phi-4-mini's own template names no mark of a call, and its vocabulary does."""
    is_token = {"<|tool_call|>", "<|/tool_call|>"}.__contains__
    assert forms_of("{{ tools }}", is_token=is_token) == (forms.PHI,)
    assert forms_of("<tool_call>", is_token=is_token) == (forms.HERMES,)
    assert forms_of("", Markers("<call>", "</call>"), is_token=is_token)[0].opener == "<call>"


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.opener)
@pytest.mark.parametrize("is_parallel", [False, True])
def test_a_demanded_call_is_one_that_is_understood(guidance: Guidance, form: Form, is_parallel: bool) -> None:
    grammar = calls_grammar(layout_of([form]), TOOLS, JSON_STYLE, is_parallel=is_parallel, special={})
    most = 0
    for seed in range(4):
        text, calls = parsed([drawn(guidance.calls_constraint(grammar), seed=seed) or ""], form, TOOLS)
        assert text == "" and calls
        most = max(most, len(calls))
        for name, arguments in calls:
            values = json.loads(arguments)
            if name == "add":
                assert values["a"] in range(10) and values["b"] in ("é", '"') and len(values) == 2
            else:
                assert (name, values) == ("now-2", {})
    assert is_parallel or most == 1


def test_special_tokens_of_a_form_are_demanded_by_id(guidance: Guidance) -> None:
    special = {"<|tool_call|>": 1, "<|/tool_call|>": 2}
    grammar = calls_grammar(layout_of([forms.PHI]), TOOLS, JSON_STYLE, is_parallel=False, special=special)
    assert "start: calls\ncalls: <[1]>" in grammar
    constraint = guidance.calls_constraint(grammar)
    assert allowed(constraint) == [1]


def test_tools_whose_schemas_cannot_be_held_to_are_refused(guidance: Guidance) -> None:
    grammar = calls_grammar(layout_of([forms.HERMES]), {"f": {"not": {}}}, JSON_STYLE, is_parallel=False, special={})
    with pytest.raises(InvalidRequest, match=r"set of tools cannot be followed.*not") as caught:
        guidance.calls_constraint(grammar)
    assert caught.value.param == "tools"
