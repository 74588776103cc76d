"""Constraints by llguidance over the demo model's tokenizer, with tokens drawn at random."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from daemon.pool.protocol import Guide
from daemon.worker.guidance import Guidance
from daemon.worker.large_stack import LargeStack
from registry.errors import GenerationFailed, InvalidRequest
from tests.daemon.worker.drawn import DEMO, END_IDS, VOCABULARY, allowed, drawn, text_of, tokens_of, zeros

T = TypeVar("T")
# Longer than anything here may take; the library's own limits must end it before.
GENEROUS_S = 20.0


@pytest.fixture(scope="module")
def guidance() -> Guidance:
    return Guidance(DEMO / "tokenizer.json", END_IDS, stack=LargeStack(timeout_s=GENEROUS_S))


def written(guidance: Guidance, guide: Guide, *, seed: int = 0, most: int = 400) -> str | None:
    return drawn(guidance.constraint(guide), seed=seed, most=most)


def schema_guide(schema: Any) -> Guide:
    return Guide(kind="json_schema", text=json.dumps(schema))


PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "boss": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/boss"}]},
    },
    "required": ["name", "age", "tags", "boss"],
    "additionalProperties": False,
    "$defs": {"boss": {"type": "object", "properties": {"id": {"const": 7}}, "required": ["id"]}},
}


@pytest.mark.parametrize("seed", range(8))
def test_a_schema_is_kept(guidance: Guidance, seed: int) -> None:
    schema = {**PERSON, "$defs": {"boss": {**PERSON["$defs"]["boss"], "additionalProperties": False}}}
    value = json.loads(written(guidance, schema_guide(schema), seed=seed) or "")
    assert list(value) == ["name", "age", "tags", "boss"]
    assert isinstance(value["name"], str) and len(value["name"]) <= 8
    assert value["age"] in range(151)
    assert len(value["tags"]) <= 3 and set(value["tags"]) <= {"a", "b"}
    assert value["boss"] in (None, {"id": 7})


@pytest.mark.parametrize("seed", range(4))
def test_json_mode_gives_an_object(guidance: Guidance, seed: int) -> None:
    text = written(guidance, Guide(kind="json_object"), seed=seed, most=2000)
    assert text is None or isinstance(json.loads(text), dict)


def test_json_has_no_white_space_that_could_go_on_for_ever(guidance: Guidance) -> None:
    constraint = guidance.constraint(Guide(kind="json_object"))
    for text in ("{", '"a"', ": "):
        for token in tokens_of(text):
            constraint.apply(zeros())
            constraint.accept(token)
    texts = [text_of([token]) for token in allowed(constraint)]
    assert texts and not any(text[0].isspace() for text in texts)


@pytest.mark.parametrize("expression", ["[ab]{3}", "(yes|no)", r"\d{4}-\d{2}", "é+x"])
def test_an_expression_is_kept(guidance: Guidance, expression: str) -> None:
    for seed in range(4):
        text = written(guidance, Guide(kind="regex", text=expression), seed=seed)
        assert text is None or re.fullmatch(expression, text)


def test_a_grammar_is_kept(guidance: Guidance) -> None:
    grammar = 'start: "a" middle "z"\nmiddle: "b" | "c" "c"'
    assert {written(guidance, Guide(kind="lark", text=grammar), seed=seed) for seed in range(12)} == {"abz", "accz"}


def test_an_answer_may_end_exactly_where_the_grammar_may(guidance: Guidance) -> None:
    constraint = guidance.constraint(Guide(kind="regex", text="a(bc)?"))
    ends = []
    for letter in "abc":
        ends.append(constraint.apply(zeros())[END_IDS[0]] == 0)
        (token,) = tokens_of(letter)
        constraint.accept(token)
    assert ends == [False, True, False]
    assert constraint.is_complete
    assert allowed(constraint) == list(END_IDS)


def test_the_padding_of_a_vocabulary_is_never_allowed_and_the_logits_stay_as_they_were(guidance: Guidance) -> None:
    constraint = guidance.constraint(Guide(kind="regex", text="(.|\n)*"))
    logits = zeros(VOCABULARY + 100)
    masked = constraint.apply(logits)
    assert np.isneginf(masked[VOCABULARY:]).all() and not np.isneginf(masked[:VOCABULARY]).all()
    assert (logits == 0).all()
    assert len(constraint.apply(zeros(VOCABULARY - 100))) == VOCABULARY - 100


def test_answers_with_the_same_form_do_not_disturb_each_other(guidance: Guidance) -> None:
    guide = Guide(kind="regex", text="ab")
    first, second = guidance.constraint(guide), guidance.constraint(guide)
    (a,) = tokens_of("a")
    first.accept(a)
    assert first.apply(zeros())[a] != 0
    assert second.apply(zeros())[a] == 0


def test_a_choice_of_thousands_of_texts_is_possible(guidance: Guidance) -> None:
    texts = [f"text number {index}" for index in range(10_000)]
    assert json.loads(written(guidance, schema_guide({"enum": texts})) or "") in texts


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (Guide(kind="json_schema", text="{oops"), "JSON schema is not valid JSON"),
        (Guide(kind="json_schema", text="[" * 100_000), "JSON schema is not valid JSON"),
        (Guide(kind="json_schema", text="[]"), "must be an object"),
        (schema_guide({"type": "wat"}), "cannot be followed: Invalid type: wat"),
        (schema_guide({"not": {}}), 'Unimplemented keys: \\["not"\\]'),
        (schema_guide({"not": {}, "x-guidance": {"lenient": True}}), "Unimplemented keys"),
        (schema_guide({"$ref": "#/nowhere"}), "does not exist"),
        (schema_guide({"$ref": "https://example.com/schema"}), "https://example.com/schema"),
        (schema_guide({"$ref": "#"}), "there is no text that matches it"),
        (schema_guide({"type": "string", "minLength": 5, "maxLength": 2}), "minLength"),
        (Guide(kind="regex", text="("), "regular expression cannot be followed.*unclosed group"),
        (Guide(kind="regex", text="(?=a)b"), "look-around"),
        (Guide(kind="lark", text="oops"), "grammar cannot be followed"),
        (Guide(kind="lark", text="start: start"), "there is no text that matches it"),
        (Guide(kind="wat", text=""), "no guide of kind 'wat'"),
    ],
)
def test_what_cannot_be_held_to_is_refused_and_named(guidance: Guidance, guide: Guide, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        guidance.constraint(guide)
    assert caught.value.param == "response_format"
    assert len(caught.value.message) < 500 and "\n" not in caught.value.message


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"allOf": [schema]}
    return schema


@pytest.mark.parametrize(
    ("kind", "within", "beyond"),
    [
        ("json_schema", json.dumps({"description": "x" * 200_000}), json.dumps({"description": "x" * 262_144})),
        ("json_schema", json.dumps(nested(30)), json.dumps(nested(40))),
        (
            "json_schema",
            json.dumps({"type": "object", "properties": {f"k{index}": {} for index in range(1000)}}),
            json.dumps({"type": "object", "properties": {f"k{index}": {} for index in range(1001)}}),
        ),
        ("regex", "a" * 16_384, "a" * 16_385),
        ("lark", 'start: "a"' + " " * 60_000, 'start: "a"' + " " * 65_536),
    ],
)
def test_size_is_bounded(guidance: Guidance, kind: str, within: str, beyond: str) -> None:
    guidance.constraint(Guide(kind=kind, text=within))
    with pytest.raises(InvalidRequest, match="more than"):
        guidance.constraint(Guide(kind=kind, text=beyond))


def chain(size: int, link: Callable[[str], Any]) -> Guide:
    """A schema whose definitions lead from one to the next, as deep as there are."""
    definitions = {f"d{index}": link(f"#/$defs/d{index + 1}") for index in range(size)}
    return schema_guide({"$defs": {**definitions, f"d{size}": {"type": "string"}}, "$ref": "#/$defs/d0"})


HOSTILE = [
    chain(6000, lambda to: {"$ref": to}),
    chain(3500, lambda to: {"anyOf": [{"$ref": to}, {"type": "null"}]}),
    chain(1700, lambda to: {"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": to}}}}),
    chain(2000, lambda to: {"allOf": [{"$ref": to}, {"$ref": to}]}),
    schema_guide({"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}}),
    schema_guide({"type": "string", "minLength": 10**9}),
    schema_guide({"type": "string", "pattern": "(a{1000}){1000}"}),
    schema_guide({"enum": [f"v{index}" for index in range(25_000)]}),
    schema_guide({"anyOf": [{"type": "string", "pattern": f"^.*{index}.*$"} for index in range(4000)]}),
    schema_guide({"type": "integer", "minimum": 0, "maximum": 10**18, "multipleOf": 9973}),
    Guide(kind="regex", text="(a{1000}){1000}"),
    Guide(kind="regex", text="(((a{100}){100}){100}){100}"),
    Guide(kind="regex", text="(.*a){500}.{500}b"),
    Guide(kind="regex", text="(a|aa)*" * 2000),
    Guide(kind="regex", text="(" * 8000 + "a" + ")" * 8000),
    Guide(kind="regex", text="[a-z]{1,100000000}"),
    Guide(kind="lark", text="start: R0\n" + "\n".join(f'R{i}: R{i + 1} "a"' for i in range(3500)) + '\nR3500: "a"'),
    Guide(kind="lark", text="start: r0\n" + "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(2500)) + "\nr2500: "),
    Guide(kind="lark", text="start: A\nA: " + " & ".join(f"/.*{i}.*/" for i in range(100))),
    Guide(kind="lark", text="start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
]


@pytest.mark.parametrize("guide", HOSTILE, ids=lambda guide: f"{guide.kind}-{guide.text[:24]}")
def test_what_strangers_send_is_followed_or_refused_in_good_time(guide: Guide) -> None:
    """Among them are what makes the library's recursion end a process, and what it would take very long for."""
    guidance = Guidance(DEMO / "tokenizer.json", END_IDS, stack=LargeStack(timeout_s=GENEROUS_S))
    guidance.constraint(Guide(kind="json_object"))
    started = time.process_time()
    try:
        constraint = guidance.constraint(guide)
        for _ in range(20):
            constraint.accept(allowed(constraint)[0])
    except (InvalidRequest, GenerationFailed):
        pass
    assert time.process_time() - started < GENEROUS_S / 2


def test_what_is_not_prepared_in_time_is_refused() -> None:
    guidance = Guidance(DEMO / "tokenizer.json", END_IDS, stack=LargeStack(timeout_s=0.005))
    with pytest.raises(InvalidRequest, match="too complex"):
        guidance.constraint(Guide(kind="regex", text="(a{1000}){1000}"))


def test_a_form_that_becomes_too_complex_on_the_way_ends_only_its_answer(guidance: Guidance) -> None:
    constraint = guidance.constraint(Guide(kind="regex", text="(a?){5000}a{5000}"))
    with pytest.raises(GenerationFailed, match="too complex"):
        for _ in range(20):
            constraint.accept(allowed(constraint)[0])
    assert not constraint.is_complete
    assert written(guidance, Guide(kind="regex", text="ab")) == "ab"


class CountingStack(LargeStack[T]):
    calls = 0

    def call(self, work: Callable[[], T]) -> T:
        self.calls += 1
        return super().call(work)


def test_few_prepared_forms_are_kept() -> None:
    stack = CountingStack[Any](timeout_s=GENEROUS_S)
    guidance = Guidance(DEMO / "tokenizer.json", END_IDS, stack=stack)
    for expression in ("k0", "k0", "k1", "k2", "k3", "k4", "k0"):
        guidance.constraint(Guide(kind="regex", text=expression))
    assert stack.calls == 6


def test_a_tokenizer_that_cannot_guide_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidRequest, match=r"tokenizer cannot be used.*Choose another model"):
        Guidance(tmp_path / "tokenizer.json", [0]).constraint(Guide(kind="json_object"))


def test_a_worker_does_not_load_the_library_before_it_is_needed() -> None:
    code = "import sys, daemon.worker.loading; print('llguidance' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "False"


def test_what_fits_is_told_without_going_on_even_of_unknown_tokens(guidance: Guidance) -> None:
    constraint = guidance.constraint(Guide(kind="regex", text="ab+c"))
    a, b, c = tokens_of("abc")
    assert constraint.fitting([a, b, b, c, a]) == 4
    assert constraint.fitting([b]) == 0
    assert constraint.fitting([a, VOCABULARY + 7, c]) == 1
    for token in (a, b, c):
        assert token in allowed(constraint)
        constraint.accept(token)
    assert constraint.fitting([a]) == 0
    assert constraint.is_complete
