"""Which template is taken, the families' defaults, and that the registry would say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Delta, Generate, Guide, Load
from daemon.worker.errors import LoadError
from daemon.worker.family_templates import FAMILY_TEMPLATES
from daemon.worker.loading import load_engine
from daemon.worker.template_source import load_chat_template
from registry.model import Source
from registry.reading import family_template as families
from registry.reading.folder import Surroundings, read_model_folder

CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "1"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "3"},
]


def changed(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**document, **values}), encoding="utf-8")


def in_registry(folder: Path) -> str | None:
    return read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER)).chat_template


def test_the_registry_says_which_template_the_worker_takes(folder: Path) -> None:
    """Each source in turn, from the first to the last, while those before it are taken away."""
    changed(
        folder, "inference_model.json", Name="m", prompttemplate={"user": "U {Content}", "assistant": "A {Content}"}
    )
    changed(folder, "chat_template.json", chat_template="json")
    changed(folder, "tokenizer_config.json", chat_template=[{"name": "default", "template": "config"}])
    seen = []
    for gone in (None, "chat_template.jinja", "tokenizer_config.json", "chat_template.json", "inference_model.json"):
        if gone == "tokenizer_config.json":
            changed(folder, gone, chat_template=None)
        elif gone is not None:
            (folder / gone).unlink()
        source = load_chat_template(folder).source
        assert in_registry(folder) == source
        seen.append(source)
    assert seen == [
        *("chat_template.jinja", "tokenizer_config.json", "chat_template.json", "inference_model.json"),
        "family default: chatml",
    ]
    changed(folder, "tokenizer.json", added_tokens=[])
    assert in_registry(folder) is None
    with pytest.raises(LoadError, match="of no known family"):
        load_chat_template(folder)


@pytest.mark.parametrize("text", ["", " \n", "x" * 300_000])
def test_a_template_that_is_none_is_passed_over(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    assert load_chat_template(folder).source == in_registry(folder) == "family default: chatml"


def test_named_templates_may_stand_in_files_beside_the_first(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | length }} tools", encoding="utf-8")
    (folder / "chat_template.jinja").write_text("no tools", encoding="utf-8")
    template = load_chat_template(folder).template
    assert (template.render(CHAT, []), template.render(CHAT, [{"x": 1}])) == ("no tools", "1 tools")
    assert "tools" in read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER)).tasks


def test_a_users_turn_of_foundrys_kind_is_enough(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    changed(folder, "inference_model.json", PromptTemplate={"user": "<u>{Content}\n", "assistant": "<a>{Content}\n"})
    assert load_chat_template(folder).template.render(CHAT[1:], []) == "<u>1\n<a>2\n<u>3\n<a>"


EXPECTED = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
    "<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\n",
    "phi-4": "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>1<|im_end|>"
    "<|im_start|>assistant<|im_sep|>2<|im_end|><|im_start|>user<|im_sep|>3<|im_end|><|im_start|>assistant<|im_sep|>",
    "llama-3": "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n1<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n2<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n3<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "granite": "<|start_of_role|>system<|end_of_role|>S<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>1<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>2<|end_of_text|>\n"
    "<|start_of_role|>user<|end_of_role|>3<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    "phi-3": "<|system|>\nS<|end|>\n<|user|>\n1<|end|>\n<|assistant|>\n2<|end|>\n<|user|>\n3<|end|>\n<|assistant|>\n",
    "gemma": "<s><start_of_turn>user\nS\n\n1<end_of_turn>\n<start_of_turn>model\n2<end_of_turn>\n"
    "<start_of_turn>user\n3<end_of_turn>\n<start_of_turn>model\n",
    "deepseek": "<s><｜User｜>S\n\n1<｜Assistant｜>2<｜end▁of▁sentence｜><｜User｜>3<｜Assistant｜>",
    "mistral": "<s>[INST] S\n\n1 [/INST]2</s>[INST] 3 [/INST]",
}


def test_every_family_that_is_known_has_a_template() -> None:
    assert set(FAMILY_TEMPLATES) == set(EXPECTED) == set(families.FAMILIES)


@pytest.mark.parametrize("family", EXPECTED)
def test_a_familys_default_writes_chats_as_its_models_know_them(tmp_path: Path, family: str) -> None:
    tokens = [{"id": index, "content": token} for index, token in enumerate(families.FAMILIES[family])]
    changed(tmp_path, "tokenizer.json", added_tokens=tokens)
    changed(tmp_path, "tokenizer_config.json", bos_token="<s>")
    found = load_chat_template(tmp_path)
    assert (found.source, found.template.render(CHAT, [])) == (f"family default: {family}", EXPECTED[family])
    assert found.end_of_turn and found.end_of_turn in EXPECTED[family]


def test_the_end_of_a_turn_ends_an_answer_of_a_model_with_a_default(folder: Path) -> None:
    """Also where the model's own files name another token only."""
    (folder / "chat_template.jinja").unlink()
    changed(folder, "tokenizer_config.json", eos_token="<|endoftext|>")
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    config["model"]["eos_token_id"] = config["model"]["pad_token_id"]
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    load = Load(path=str(folder), execution_provider="cpu", threads=1, context_tokens=256, max_concurrent=1)
    engine, ready = load_engine(load)
    assert ready.template_source == "family default: chatml"
    beyond_the_end = Guide(kind="lark", text='start: "a" <[258]> "b"')
    events = engine.handle(Generate(request_id="r", messages=CHAT, guide=beyond_the_end))
    while not engine.is_idle:
        events += engine.step()
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "a"
