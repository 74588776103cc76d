"""Chat templates for models that have none: the formats that ``registry.reading.family_template`` knows.

In the words of their makers' published descriptions; without tools, of which these formats alone say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FamilyTemplate:
    """``text`` is Jinja; ``end_of_turn`` is the token that ends an answer."""

    text: str
    end_of_turn: str


_PLAIN_ROLES = """\
{%- for message in messages -%}
{{- 'OPEN' + message.role + 'SEP' + message.content + 'END' -}}
{%- endfor -%}
{{- 'OPENassistantSEP' -}}
"""
# A role that the format has no word for is a user's turn; what a system says stands in front of it.
_USER_AND_MODEL = """\
{{- bos_token -}}
{%- set system = namespace(text='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set system.text = system.text + message.content + '\\n\\n' -%}
{%- elif message.role == 'assistant' -%}
{{- 'MODEL' + message.content + 'MODEL_END' -}}
{%- else -%}
{{- 'USER' + system.text + message.content + 'USER_END' -}}
{%- set system.text = '' -%}
{%- endif -%}
{%- endfor -%}
{{- 'MODEL' -}}
"""


def _roles(open: str, sep: str, end: str, *, begin: str = "") -> str:
    return begin + _filled(_PLAIN_ROLES, OPEN=open, SEP=sep, END=end)


def _turns(user: str, user_end: str, model: str, model_end: str) -> str:
    return _filled(_USER_AND_MODEL, USER_END=user_end, USER=user, MODEL_END=model_end, MODEL=model)


def _filled(text: str, **parts: str) -> str:
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


FAMILY_TEMPLATES = {
    "chatml": FamilyTemplate(_roles("<|im_start|>", "\\n", "<|im_end|>\\n"), "<|im_end|>"),
    "phi-4": FamilyTemplate(_roles("<|im_start|>", "<|im_sep|>", "<|im_end|>"), "<|im_end|>"),
    "llama-3": FamilyTemplate(
        _roles("<|start_header_id|>", "<|end_header_id|>\\n\\n", "<|eot_id|>", begin="{{- bos_token -}}\n"),
        "<|eot_id|>",
    ),
    "granite": FamilyTemplate(_roles("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>\\n"), "<|end_of_text|>"),
    "phi-3": FamilyTemplate(_roles("<|", "|>\\n", "<|end|>\\n"), "<|end|>"),
    "gemma": FamilyTemplate(
        _turns("<start_of_turn>user\\n", "<end_of_turn>\\n", "<start_of_turn>model\\n", "<end_of_turn>\\n"),
        "<end_of_turn>",
    ),
    "deepseek": FamilyTemplate(
        _turns("<｜User｜>", "", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"), "<｜end▁of▁sentence｜>"
    ),
    "mistral": FamilyTemplate(_turns("[INST] ", " [/INST]", "", "</s>"), "</s>"),
}
