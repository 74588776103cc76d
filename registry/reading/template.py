"""Chat templates, as far as the registry needs them: is there one, and what does it know about?

Whether a template renders well is the worker's business; nothing is executed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields
from registry.model import Markers
from registry.notes import Notes
from registry.problems import ProblemCode
from registry.reading.family_template import added_tokens, family_template
from registry.reading.reader import FolderReader

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_JSON_FILE = "chat_template.json"
ADDITIONAL_TEMPLATES = "additional_chat_templates"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"
# The longest published ones have some 30,000 characters.
MAX_TEMPLATE_CHARACTERS = 256 * 1024
# A text is cut at each begin of a Jinja statement or expression, and looked at up to its end, and not much further
# where it has none: the time grows with the text and no faster, whatever it is.
_JINJA_BEGINS = re.compile(r"\{[%{]")
_MAX_STATEMENT_CHARACTERS = 400
_TOOLS = re.compile(r"\btools\b")
# Variables that switch thinking on or off, and the name of what was thought in a message.
_REASONING_IN_JINJA = re.compile(r"\b(?:enable_thinking|reasoning_content|reasoning_effort|thinking_budget)\b")
# Variables by which a request says whether the model reasons first: Qwen, GLM and SmolLM3; Granite and DeepSeek.
_SWITCHES = ("enable_thinking", "thinking")
# As a variable, and not as a part of something; where it is used, also not as the name of an argument.
_NAMED = {name: re.compile(rf"(?<![\w.]){name}\b") for name in _SWITCHES}
_USED = {name: re.compile(rf"(?<![\w.]){name}\b(?!\s{{0,4}}=(?!=))") for name in _SWITCHES}
_IS_TESTED = re.compile(r"\b(?:if|elif|is|not|default)\b")
_QUOTED = re.compile(r"'[^']*(?:'|$)|\"[^\"]*(?:\"|$)")
_AROUND_CODE = "-+% \t\r\n"
# Statements that give a name to something, and what stands in them between the name and what it is used for.
_BINDING = {"set": "=", "for": " in ", "with": "=", "macro": ")", "call": ")"}
# What published templates put around a tool call, and around reasoning: first those that contain others.
_TOOL_MARKERS = (
    Markers("<tool_call>", "</tool_call>"),  # Qwen, Hermes, GLM, SmolLM3
    Markers("<|tool_call|>", "<|/tool_call|>"),  # Phi-4-mini
    Markers("<|tool_call_start|>", "<|tool_call_end|>"),  # LFM2
    Markers("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    Markers("<start_function_call>", "<end_function_call>"),  # FunctionGemma
    Markers("<minimax:tool_call>", "</minimax:tool_call>"),
    Markers("<TOOLCALL>", "</TOOLCALL>"),  # Nemotron
    Markers("<|START_ACTION|>", "<|END_ACTION|>"),  # Command
)
_REASONING_MARKERS = (
    Markers("<think>", "</think>"),
    Markers("<seed:think>", "</seed:think>"),
    Markers("[THINK]", "[/THINK]"),
    Markers("<|START_THINKING|>", "<|END_THINKING|>"),
    Markers("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
    Markers("<thought>", "</thought>"),
    Markers("Here is my thought process:", "Here is my response:"),  # Granite 3.2
)
# Of a thought that the template itself begins, only the end may be in its text.
_REASONING_END = Markers("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What a template's text gives evidence for; markers are None where it has none that is known.

    ``has_thinking_switch``: whether a model reasons depends on a variable that a request can set.
    """

    handles_tools: bool
    handles_reasoning: bool
    has_thinking_switch: bool
    tool_markers: Markers | None
    reasoning_markers: Markers | None


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """``template`` is the tokenizer's own, ``source`` the file that it is in, ``tokens`` its added tokens by id.

    ``family`` is the chat format that these tokens prove, looked for where there is no template.
    """

    template: ChatTemplate | None
    tokens: dict[int, str]
    source: str | None = None
    family: str | None = None


def read_tokenizer(reader: FolderReader, notes: Notes, folder: str = "") -> TokenizerFacts:
    """What the tokenizer's files in ``folder`` (a prefix that ends with a slash) say; a broken one is noted.

    The template is a file of its own, else a key of tokenizer_config.json.
    """
    config = _json(reader, notes, folder + TOKENIZER_CONFIG_FILE)
    tokens = _added_tokens(config) if config is not None else {}
    template = _own_file(reader, notes, folder)
    if template is not None:
        return TokenizerFacts(template, tokens, TEMPLATE_FILE)
    template = _template_in(config, notes)
    if template is not None:
        return TokenizerFacts(template, tokens, TOKENIZER_CONFIG_FILE)
    template = _template_in(_json(reader, notes, folder + TEMPLATE_JSON_FILE), notes)
    if template is not None:
        return TokenizerFacts(template, tokens, TEMPLATE_JSON_FILE)
    family = family_template({*tokens.values(), *_tokens_of_tokenizer(reader, folder)})
    return TokenizerFacts(None, tokens, family=family)


@lru_cache(maxsize=64)
def template_of(text: str) -> ChatTemplate | None:
    """None for a text with nothing in it. Many folders have the same few templates.

    Raises InvalidModelFolder for one that is too long.
    """
    if not text.strip():
        return None
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidModelFolder(
            ProblemCode.TOKENIZER_CONFIG_INVALID,
            f"The chat template has {len(text)} characters, and is ignored: more than {MAX_TEMPLATE_CHARACTERS} no "
            "real one has. Copy it again from the original model.",
        )
    statements = _statements(text)
    has_switch = any(_is_switch(name, statements) for name in _SWITCHES if name in text)
    reasoning = _markers(text, _REASONING_MARKERS)
    if reasoning is None and _REASONING_END.end in text:
        reasoning = _REASONING_END
    return ChatTemplate(
        handles_tools=any(map(_TOOLS.search, statements)),
        handles_reasoning=reasoning is not None or has_switch or _REASONING_IN_JINJA.search(text) is not None,
        has_thinking_switch=has_switch,
        tool_markers=_markers(text, _TOOL_MARKERS),
        reasoning_markers=reasoning,
    )


def _json(reader: FolderReader, notes: Notes, name: str) -> Fields | None:
    if name not in reader:
        return None
    try:
        return reader.json(name, ProblemCode.TOKENIZER_CONFIG_INVALID)
    except InvalidModelFolder as error:
        _note(notes, error)
        return None


def _own_file(reader: FolderReader, notes: Notes, folder: str) -> ChatTemplate | None:
    if folder + TEMPLATE_FILE not in reader:
        return None
    beside = sorted(name for name in reader.sizes if name.startswith(f"{folder}{ADDITIONAL_TEMPLATES}/"))
    names = [folder + TEMPLATE_FILE, *(name for name in beside if name.endswith(".jinja"))]
    try:
        return template_of("\n".join(reader.text(name, ProblemCode.TOKENIZER_CONFIG_INVALID) for name in names))
    except InvalidModelFolder as error:
        _note(notes, error)
        return None


def _tokens_of_tokenizer(reader: FolderReader, folder: str) -> frozenset[str]:
    """None of a file that is larger than others are: what it may prove is worth no problem."""
    name = folder + TOKENIZER_FILE
    if name not in reader:
        return frozenset()
    try:
        fields = reader.json(name, ProblemCode.TOKENIZER_CONFIG_INVALID)
    except InvalidModelFolder:
        return frozenset()
    return added_tokens({}, {"added_tokens": fields.raw("added_tokens")})


def _note(notes: Notes, error: InvalidModelFolder) -> None:
    notes.add(ProblemCode.TOKENIZER_CONFIG_INVALID, error.message, error.file)


def _template_in(fields: Fields | None, notes: Notes) -> ChatTemplate | None:
    if fields is None:
        return None
    try:
        if isinstance(fields.raw("chat_template"), list):
            # Several named templates: "default", and often "tool_use".
            texts = [entry.text("template") or "" for entry in fields.children("chat_template")]
            return template_of("\n".join(texts))
        return template_of(fields.text("chat_template") or "")
    except InvalidModelFolder as error:
        _note(notes, error)
        return None


def _statements(text: str) -> list[str]:
    """What stands inside Jinja's statements and expressions, up to the first brace in it."""
    _before, *statements = _JINJA_BEGINS.split(_without_comments(text))
    return [each[:_MAX_STATEMENT_CHARACTERS].partition("}")[0] for each in statements]


def _without_comments(text: str) -> str:
    parts, position = [], 0
    while (begin := text.find("{#", position)) >= 0 and (end := text.find("#}", begin + 2)) >= 0:
        parts.append(text[position:begin])
        position = end + 2
    return "".join([*parts, text[position:]])


def _is_switch(name: str, statements: Iterable[str]) -> bool:
    """Whether the variable ``name`` is tested before the template itself gives that name to something."""
    mentioning = (each for each in statements if name in each)
    for code in (_QUOTED.sub("''", each).strip(_AROUND_CODE) for each in mentioning):
        word = code.partition(" ")[0]
        bound, _, code_left = code.partition(_BINDING[word]) if word in _BINDING else ("", "", code)
        if _USED[name].search(code_left) and _IS_TESTED.search(code):
            return True
        if _NAMED[name].search(bound):
            return False
    return False


def _markers(text: str, known: tuple[Markers, ...]) -> Markers | None:
    return next((each for each in known if each.start in text and each.end in text), None)


def _added_tokens(config: Fields) -> dict[int, str]:
    entries = config.raw("added_tokens_decoder")
    if not isinstance(entries, dict):
        return {}
    contents = ((key, entry.get("content")) for key, entry in entries.items() if isinstance(entry, dict))
    return {
        int(key): content
        for key, content in contents
        if isinstance(content, str) and len(key) < 10 and key.isascii() and key.isdigit()
    }
