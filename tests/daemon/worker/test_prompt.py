from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.template_source import load_chat_template, load_special_tokens
from registry.errors import InvalidRequest

USER = [{"role": "user", "content": "Hi"}]
DUMP = "{{ messages | tojson }}"


def write(folder: Path, name: str, content: str | dict[str, Any], *, bom: bool = False) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8-sig" if bom else "utf-8")


def jinja(folder: Path, source: str, config: dict[str, Any] | None = None) -> None:
    write(folder, "chat_template.jinja", source)
    write(folder, "tokenizer_config.json", config or {})


def dumped(folder: Path, messages: list[dict[str, Any]]) -> Any:
    jinja(folder, DUMP)
    return json.loads(load_chat_template(folder).template.render(messages, []))


def test_the_template_file_goes_before_the_tokenizer_and_foundry(tmp_path: Path) -> None:
    write(tmp_path, "inference_model.json", {"PromptTemplate": {"prompt": "foundry {Content}"}})
    assert load_chat_template(tmp_path).source == "inference_model.json"
    write(tmp_path, "tokenizer_config.json", {"chat_template": "tokenizer"})
    assert load_chat_template(tmp_path).source == "tokenizer_config.json"
    write(tmp_path, "chat_template.jinja", "file")
    template = load_chat_template(tmp_path).template
    assert (template.source, template.render(USER, [])) == ("chat_template.jinja", "file")


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer_config.json", {"bos_token": "<s>"}, bom=True)
    write(tmp_path, "chat_template.jinja", "{{ bos_token }}", bom=True)
    assert load_chat_template(tmp_path).template.render(USER, []) == "<s>"


def test_special_tokens_are_strings_or_objects_and_absent_ones_empty(tmp_path: Path) -> None:
    tokens = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "pad_token": None}
    jinja(tmp_path, "[{{ bos_token }}{{ eos_token }}{{ pad_token }}]", tokens)
    assert load_chat_template(tmp_path).template.render(USER, []) == "[<s></s>]"
    assert load_special_tokens(tmp_path) == {"bos_token": "<s>", "eos_token": "</s>"}


def test_of_named_templates_the_one_for_tools_is_used_with_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}]
    write(tmp_path, "tokenizer_config.json", {"chat_template": named})
    template = load_chat_template(tmp_path).template
    assert template.render(USER, []) == "plain"
    assert template.render(USER, [{"type": "function"}]) == "1 tools"


def test_tools_are_none_for_a_template_when_there_are_none(tmp_path: Path) -> None:
    jinja(tmp_path, "{{ tools is none }} {{ add_generation_prompt }}")
    assert load_chat_template(tmp_path).template.render(USER, []) == "True True"


def test_content_parts_become_one_text_and_missing_content_is_empty(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": parts, "name": None},
        {"role": "assistant", "content": None},
    ]
    assert dumped(tmp_path, messages) == [
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": ""},
    ]


# As such models have it: they reason unless they are told not to, and an empty thought says that.
THINKS = """
{%- for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor -%}
<assistant>{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}
"""
# As others have it: they do not, unless a note stands in front.
THINKS_IF_ASKED = "{% if thinking %}[reason first]{% endif %}{{ messages[0].content }}"


@pytest.mark.parametrize(("thinking", "is_off"), [(None, False), (True, False), (False, True)])
def test_a_model_that_reasons_is_told_when_it_is_not_to(tmp_path: Path, thinking: bool | None, is_off: bool) -> None:
    jinja(tmp_path, THINKS)
    prompt = load_chat_template(tmp_path).template.render(USER, [], thinking=thinking).strip()
    assert prompt == "<user>Hi<assistant>" + "<think></think>" * is_off


@pytest.mark.parametrize(("thinking", "prompt"), [(None, "Hi"), (True, "[reason first]Hi"), (False, "Hi")])
def test_a_model_that_can_reason_is_told_when_it_is_to(tmp_path: Path, thinking: bool | None, prompt: str) -> None:
    jinja(tmp_path, THINKS_IF_ASKED)
    assert load_chat_template(tmp_path).template.render(USER, [], thinking=thinking) == prompt


def test_a_template_sees_no_switch_that_nobody_set(tmp_path: Path) -> None:
    jinja(tmp_path, "{{ enable_thinking is defined }} {{ thinking is defined }}")
    template = load_chat_template(tmp_path).template
    assert (template.render(USER, []), template.render(USER, [], thinking=False)) == ("False False", "True True")


def test_a_template_without_a_switch_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, "inference_model.json", {"PromptTemplate": {"prompt": "U:{Content} A:"}})
    assert load_chat_template(tmp_path).template.render(USER, [], thinking=True) == "U:Hi A:"


def test_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="only text"):
        dumped(tmp_path, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


@pytest.mark.parametrize(("given", "seen"), [('{"a": 1}', {"a": 1}), ("not json", "not json"), ({"a": 1}, {"a": 1})])
def test_arguments_of_tool_calls_are_objects_for_templates(tmp_path: Path, given: Any, seen: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": given}}
    (message,) = dumped(tmp_path, [{"role": "assistant", "tool_calls": [call]}])
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": seen}


def test_a_template_that_takes_arguments_as_text_gets_them_so(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}}
    jinja(tmp_path, "{{ '<' + messages[1].tool_calls[0].function.arguments + '>' + messages[0].content }}")
    template = load_chat_template(tmp_path).template
    assert template.render([*USER, {"role": "assistant", "tool_calls": [call]}], []) == '<{"a": "é"}>Hi'


def test_a_developer_is_a_system_unless_the_template_knows_developers(tmp_path: Path) -> None:
    messages = [{"role": "developer", "content": "x"}]
    assert dumped(tmp_path, messages)[0]["role"] == "system"
    jinja(tmp_path, "{# developer #}{{ messages[0].role }}")
    assert load_chat_template(tmp_path).template.render(messages, []) == "developer"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[0].content + 1 }}", "can only concatenate"),
        ("{{ nothing.at.all }}", "nothing"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_an_error_of_the_template_is_the_requests(tmp_path: Path, source: str, message: str) -> None:
    jinja(tmp_path, source)
    with pytest.raises(InvalidRequest, match=message):
        load_chat_template(tmp_path).template.render(USER, [])


def test_a_template_that_is_no_jinja_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    jinja(tmp_path, "fine\n{% for %}")
    with pytest.raises(LoadError, match=r"chat_template.jinja is not valid Jinja: line 2") as caught:
        load_chat_template(tmp_path)
    assert caught.value.code is LoadCode.INVALID_FILE


def test_a_folder_without_any_template_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "inference_model.json", {"Name": "x", "PromptTemplate": None})
    with pytest.raises(LoadError, match=r"Copy the file chat_template\.jinja") as caught:
        load_chat_template(tmp_path)
    assert caught.value.code is LoadCode.UNSUPPORTED


@pytest.mark.parametrize("content", [b"{oops", b"\xff\xfe\x00"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(LoadError, match=r"tokenizer_config.json"):
        load_chat_template(tmp_path)


PHI = {
    "system": "<|system|>\n{Content}<|end|>\n",
    "user": "<|user|>\n{Content}<|end|>\n",
    "assistant": "<|assistant|>\n{Content}<|end|>\n",
    "prompt": "<|user|>\n{Content}<|end|>\n<|assistant|>\n",
}


def foundry(folder: Path, parts: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    write(folder, "inference_model.json", {"Name": "x", "PromptTemplate": parts}, bom=True)
    return load_chat_template(folder).template.render(messages, [])


def test_foundrys_template_is_filled_role_by_role(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "1 {Content}"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
    ]
    assert foundry(tmp_path, PHI, messages) == (
        "<|system|>\nS<|end|>\n<|user|>\n1 {Content}<|end|>\n<|assistant|>\n2<|end|>\n"
        "<|user|>\n3<|end|>\n<|assistant|>\n"
    )


def test_an_answer_is_opened_after_a_tools_result_too(tmp_path: Path) -> None:
    parts = {**PHI, "tool": "<|tool|>{Tool}<|end|>\n"}
    messages = [{"role": "user", "content": "1"}, {"role": "tool", "content": "{}"}]
    assert foundry(tmp_path, parts, messages).endswith("<|tool|>{}<|end|>\n<|assistant|>\n")


def test_a_prompt_alone_serves_every_role(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
    ]
    assert foundry(tmp_path, {"prompt": "U:{Content} A:"}, messages) == "U:S\n\n1 A:2U:3 A:"


def test_a_role_that_foundrys_template_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="'wizard'"):
        foundry(tmp_path, PHI, [{"role": "wizard", "content": "x"}])
