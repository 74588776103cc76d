"""Where a model's chat template comes from, and what else its tokenizer's files say about chats.

The first that is there: ``chat_template.jinja``, with named ones beside it in ``additional_chat_templates``;
``chat_template`` in ``tokenizer_config.json`` or ``chat_template.json``, one template or several named ones;
``PromptTemplate`` in ``inference_model.json``; the default of the family whose special tokens the model has. The
registry looks in the same places in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.family_templates import FAMILY_TEMPLATES
from daemon.worker.folder import find_object, read_text
from daemon.worker.prompt import FOUNDRY_FILE, ChatTemplate, JinjaTemplate, PlaceholderTemplate
from registry.reading.family_template import added_tokens, family_template, source_of
from registry.reading.template import (
    ADDITIONAL_TEMPLATES,
    MAX_TEMPLATE_CHARACTERS,
    TEMPLATE_FILE,
    TEMPLATE_JSON_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
)

_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """``text`` is that of the template itself, which tells in which form the model writes; empty where it cannot.

    ``end_of_turn`` is a token that ends an answer, where the template says so.
    """

    template: ChatTemplate
    text: str
    end_of_turn: str | None = None

    @property
    def source(self) -> str:
        return self.template.source


def load_chat_template(folder: Path) -> FoundTemplate:
    """The template of a model folder. Raises LoadError if there is none or it cannot be read."""
    config = find_object(folder / TOKENIZER_CONFIG_FILE)
    tokens = special_tokens(config)
    for source, named in _own_templates(folder, config):
        if named:
            return FoundTemplate(JinjaTemplate(source, named, tokens), "\n".join(named.values()))
    parts = _prompt_template(find_object(folder / FOUNDRY_FILE))
    if parts:
        return FoundTemplate(PlaceholderTemplate(parts), "")
    family = family_template(added_tokens(config, _tokenizer(folder)))
    if family is not None:
        default = FAMILY_TEMPLATES[family]
        template = JinjaTemplate(source_of(family), {_DEFAULT: default.text}, tokens)
        return FoundTemplate(template, default.text, default.end_of_turn)
    raise LoadError(
        LoadCode.UNSUPPORTED,
        f"{folder} has no chat template: there is no {TEMPLATE_FILE}, no chat_template in {TOKENIZER_CONFIG_FILE} and "
        f"no PromptTemplate in {FOUNDRY_FILE}, and its special tokens are of no known family. Copy the file "
        f"{TEMPLATE_FILE} of the original model into the folder.",
    )


def load_special_tokens(folder: Path) -> dict[str, str]:
    """The special tokens that ``tokenizer_config.json`` names, each given as a string or as ``{"content": ...}``."""
    return special_tokens(find_object(folder / TOKENIZER_CONFIG_FILE))


def special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Those of a ``tokenizer_config.json`` that has been read."""
    tokens = {}
    for name in _SPECIAL_TOKENS:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        if isinstance(text, str):
            tokens[name] = text
    return tokens


def _own_templates(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """The places of the model's own templates, with what is there by name, often nothing."""
    file = folder / TEMPLATE_FILE
    own = _usable({_DEFAULT: read_text(file)}) if file.is_file() else {}
    if own:
        beside = sorted((folder / ADDITIONAL_TEMPLATES).glob("*.jinja"))
        own = _usable({path.stem: read_text(path) for path in beside}) | own
    yield TEMPLATE_FILE, own
    yield TOKENIZER_CONFIG_FILE, _named_templates(config.get("chat_template"))
    yield TEMPLATE_JSON_FILE, _named_templates(find_object(folder / TEMPLATE_JSON_FILE).get("chat_template"))


def _named_templates(value: Any) -> dict[str, str]:
    """``chat_template`` is one text, or a list of ``{"name": ..., "template": ...}``."""
    if isinstance(value, str):
        return _usable({_DEFAULT: value})
    entries = value if isinstance(value, list) else []
    pairs = [(entry.get("name"), entry.get("template")) for entry in entries if isinstance(entry, dict)]
    return _usable({name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)})


def _usable(named: Mapping[str, str]) -> dict[str, str]:
    """Without those that are empty, or longer than any real one is."""
    return {name: text for name, text in named.items() if text.strip() and len(text) <= MAX_TEMPLATE_CHARACTERS}


def _prompt_template(document: Mapping[str, Any]) -> dict[str, str]:
    """Foundry's texts by role; nothing where none is for a user's turn. Keys count in any case, as in the registry."""
    parts = next((value for key, value in document.items() if key.lower() == "prompttemplate"), None)
    texts = {role: text for role, text in parts.items() if isinstance(text, str)} if isinstance(parts, dict) else {}
    if "{Content}" not in texts.get("prompt", ""):
        user, opening = texts.get("user", ""), texts.get("assistant", "").partition("{Content}")[0]
        texts["prompt"] = user + opening
    return texts if "{Content}" in texts["prompt"] else {}


def _tokenizer(folder: Path) -> dict[str, Any]:
    """A tokenizer.json that is larger than others are may prove nothing, as in the registry."""
    try:
        return find_object(folder / TOKENIZER_FILE)
    except LoadError:
        return {}
