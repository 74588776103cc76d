"""Chat templates, as far as the registry needs them: is there one, and does it know about tools?

Whether a template renders well is the worker's business; nothing is executed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from registry.documents import read_json_object, read_text
from registry.problems import ProblemCode

TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_JSON_FILE = "chat_template.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
# A use of the variable `tools` inside a Jinja statement or expression. Bounded, so that no text makes it slow.
_TOOLS_IN_JINJA = re.compile(r"\{[%{][^}]{0,400}?\btools\b")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    handles_tools: bool


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """The tokenizer's own template: a file, else a key of tokenizer_config.json. Raises InvalidModelFolder."""
    if (folder / TEMPLATE_FILE).is_file():
        text = read_text(folder / TEMPLATE_FILE, ProblemCode.TOKENIZER_CONFIG_INVALID)
        return _template([text])
    for name in (TOKENIZER_CONFIG_FILE, TEMPLATE_JSON_FILE):
        if (folder / name).is_file():
            fields = read_json_object(folder / name, ProblemCode.TOKENIZER_CONFIG_INVALID)
            template = fields.raw("chat_template")
            if isinstance(template, list):
                # Several named templates: "default", and often "tool_use".
                found = _template([entry.text("template") or "" for entry in fields.children("chat_template")])
            else:
                found = _template([fields.text("chat_template") or ""])
            if found is not None:
                return found
    return None


def _template(texts: list[str]) -> ChatTemplate | None:
    present = [text for text in texts if text.strip()]
    if not present:
        return None
    return ChatTemplate(handles_tools=any(_TOOLS_IN_JINJA.search(text) for text in present))
