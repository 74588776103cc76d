from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidRequest
from registry.manifest import MAX_BYTES, merge, parse, serialise
from registry.model import Hint

COURSE = """[
  {"name": "phi-4-mini", "task": "chat", "min_ram_gb": 8, "notes": "Compact & fast"},
  {"name": "qwen2.5-7b-instruct", "task": "chat", "min_ram_gb": 16, "notes": "Más contexto"},
  {"name": "deepseek-r1-distill-qwen-7b", "task": "code", "min_ram_gb": 16}
]"""

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
hints = st.lists(
    st.builds(
        Hint,
        name=texts.filter(str.strip) | st.sampled_from(["phi", "PHI"]),
        task=st.none() | texts | st.sampled_from(["chat", "Chat"]),
        min_ram_gb=st.none() | st.floats(0, 1e6) | st.integers(0, 10**6).map(float),
        notes=st.none() | texts,
        more=st.dictionaries(
            texts.filter(lambda key: key not in ("name", "task", "min_ram_gb", "notes")), values, max_size=3
        ),
    ),
    max_size=6,
).map(tuple)


def test_the_courses_format_is_read() -> None:
    first, second, third = parse(COURSE)
    assert first == Hint("phi-4-mini", "chat", 8.0, "Compact & fast")
    assert second.notes == "Más contexto"
    assert third == Hint("deepseek-r1-distill-qwen-7b", "code", 16.0)


def test_a_byte_order_mark_and_a_list_under_models_are_read() -> None:
    assert parse(f"\ufeff{COURSE}") == parse(f'{{"models": {COURSE}}}') == parse(COURSE)


def test_unknown_keys_and_order_are_kept() -> None:
    text = '[{"name": "b", "zebra": 1, "ape": {"deep": [null]}}, {"name": "a"}]'
    first, second = parse(text)
    assert list(first.more.items()) == [("zebra", 1), ("ape", {"deep": [None]})]
    assert second.name == "a"
    assert json.loads(serialise((first, second))) == json.loads(text)


def test_whole_numbers_stay_whole() -> None:
    assert '"min_ram_gb": 8,' in serialise(parse(COURSE))
    assert '"min_ram_gb": 7.5' in serialise([Hint("a", min_ram_gb=7.5)])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("{}", "must hold a list"),
        ('"a"', "must hold a list"),
        ("[1]", "Entry 1 of models.json must be an object"),
        ('[{"name": "a"}, {"task": "chat"}]', "Entry 2 of models.json has no name"),
        ('[{"name": "  "}]', "Entry 1 of models.json has no name"),
        ('[{"name": 5}]', "name in entry 1 "),
        ('[{"name": "a", "task": ["chat"]}]', r"task in entry 1 \(a\)"),
        ('[{"name": "a", "notes": {}}]', "notes in entry 1"),
        ('[{"name": "a", "min_ram_gb": "8"}]', 'min_ram_gb in entry 1 .* and is "8"'),
        ('[{"name": "a", "min_ram_gb": true}]', "min_ram_gb in entry 1"),
        ('[{"name": "a", "min_ram_gb": -1}]', "min_ram_gb in entry 1"),
        ('[{"name": "a", "min_ram_gb": NaN}]', "NaN is not a JSON number"),
        ('[{"name": "a", "x": Infinity}]', "Infinity is not a JSON number"),
        ('[{"name": "a", "min_ram_gb": 1e400}]', "min_ram_gb in entry 1"),
        ('[{"name": "a", "x": "\\ud800"}]', "broken character"),
        ("[" * 60 + "]" * 60, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('[{"name": "a", "x": ' + "9" * 5000 + "}]", "not valid JSON"),
        (f'[{{"name": "{"a" * 501}"}}]', "name in entry 1 "),
    ],
)
def test_what_is_wrong_is_said_with_its_entry_and_key(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse(text)


def test_a_file_that_is_too_large_or_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="larger than"):
        parse(" " * (MAX_BYTES + 1))
    with pytest.raises(InvalidRequest, match="20001 entries"):
        parse(json.dumps([{"name": "a"}] * 20_001))


@given(hints)
def test_export_and_import_are_lossless(entries: tuple[Hint, ...]) -> None:
    again = parse(serialise(entries))
    assert again == entries
    assert [list(hint.more) for hint in again] == [list(hint.more) for hint in entries]
    assert merge((), again) == entries


@given(hints)
def test_importing_the_same_file_again_changes_nothing(entries: tuple[Hint, ...]) -> None:
    assert merge(entries, entries) == entries


@given(hints, hints)
def test_a_merge_loses_nothing_local(local: tuple[Hint, ...], incoming: tuple[Hint, ...]) -> None:
    merged = merge(local, incoming)
    for mine, kept in zip(local, merged, strict=False):
        assert kept.name == mine.name
        assert set(mine.more) <= set(kept.more)
        for name in ("task", "min_ram_gb", "notes"):
            assert getattr(mine, name) is None or getattr(kept, name) is not None
    assert len(local) <= len(merged) <= len(local) + len(incoming)


@given(st.text(max_size=200) | st.recursive(values, st.lists).map(json.dumps))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    try:
        parse(text)
    except InvalidRequest as error:
        assert "models.json" in error.message


def test_what_comes_in_is_taken_over_by_name_and_task_without_case() -> None:
    local = (Hint("phi", "chat", 8.0, "mine", {"x": 1, "kept": True}), Hint("phi", "code", 4.0))
    incoming = (Hint("PHI", "Chat", 6.0, None, {"x": 2, "new": 0}), Hint("qwen", "chat"))
    assert merge(local, incoming) == (
        Hint("phi", "chat", 6.0, "mine", {"x": 2, "kept": True, "new": 0}),
        Hint("phi", "code", 4.0),
        Hint("qwen", "chat"),
    )


def test_a_colleagues_facts_do_not_overwrite_ours() -> None:
    def with_facts(speed: Any) -> Hint:
        return Hint("phi", "chat", more={"slmreg": {"measured": {"tokens_per_second": speed}}})

    assert merge([with_facts(50)], [with_facts(9)]) == (with_facts(50),)
    assert merge([Hint("phi", "chat")], [with_facts(9)]) == (with_facts(9),)


def test_numbers_stay_exact() -> None:
    assert parse(serialise([Hint("a", min_ram_gb=math.pi)]))[0].min_ram_gb == math.pi
