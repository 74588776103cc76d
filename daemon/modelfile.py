"""Ollama's Modelfile, as far as it describes a preset: FROM, PARAMETER, SYSTEM and MESSAGE, in and out.

What it says beyond that is refused by name and line: a preset changes how a model is asked, and never what it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from registry.errors import InvalidRequest
from registry.model import Preset

ROLES = ("system", "user", "assistant")
_QUOTES = '"""'
_FILE_ENDINGS = (".gguf", ".bin", ".onnx", ".safetensors")
_REFUSED = {
    "TEMPLATE": "a model's chat template is the one in its folder",
    "ADAPTER": "an adapter is named behind its model: FROM model@adapter",
    "LICENSE": "a licence is read from the model's folder",
    "QUANTIZE": "models are used as they are",
    "RENDERER": "a model's chat template is the one in its folder",
    "PARSER": "how a model writes its calls is read from its folder",
    "REQUIRES": "there is no Ollama here whose version would count",
}


@dataclass(slots=True)
class Draft:
    """What a Modelfile says, by its instructions."""

    base: str = ""
    system: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)


def read_modelfile(text: str) -> Draft:
    """Raises InvalidRequest, which names the line."""
    draft = Draft()
    for number, instruction, argument in _instructions(text):
        match instruction:
            case "FROM":
                draft.base = _base(number, argument)
            case "PARAMETER":
                _add_parameter(draft, number, argument)
            case "SYSTEM":
                draft.system = _unquoted(argument)
            case "MESSAGE":
                draft.messages.append(_message(number, argument))
            case _:
                why = _REFUSED.get(instruction, f"known are FROM, PARAMETER, SYSTEM, MESSAGE, and not {instruction!r}")
                _refuse(number, f"{instruction} cannot be used: {why}")
    if not draft.base:
        raise InvalidRequest("The Modelfile has no FROM line. Begin it with the name of a model: FROM phi-4-mini.")
    return draft


def add_parameter(parameters: dict[str, Any], name: str, text: str) -> None:
    """``stop`` can be given several times; of the others the last counts."""
    if name == "stop":
        parameters.setdefault("stop", []).append(text)
    else:
        parameters[name] = _as_value(text)


def write_modelfile(preset: Preset) -> str:
    """What makes ``preset`` again."""
    lines = [f"FROM {preset.base}"]
    if preset.system:
        lines.append(f"SYSTEM {_quoted(preset.system)}")
    lines += [f"PARAMETER {line}" for line in parameter_lines(preset.parameters, width=0)]
    lines += [f"MESSAGE {message.get('role')} {_quoted(str(message.get('content')))}" for message in preset.messages]
    return "\n".join(lines) + "\n"


def parameter_lines(parameters: Any, *, width: int = 30) -> list[str]:
    """One for each value: the name, filled up to ``width``, and the value."""
    return [
        f"{name:<{width}} {json.dumps(value, ensure_ascii=False)}"
        for name, values in parameters.items()
        for value in (values if isinstance(values, list) else [values])
    ]


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, instruction in capitals, and its argument, which may go over several lines in triple quotes."""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        instruction, argument = _word(line)
        if not instruction or instruction.startswith("#"):
            continue
        if argument.count(_QUOTES) == 1:
            argument = _to_the_closing_quotes(number, argument, lines)
        yield number, instruction.upper(), argument


def _to_the_closing_quotes(number: int, begun: str, lines: Iterator[tuple[int, str]]) -> str:
    parts = [begun]
    for _number, line in lines:
        parts.append(line)
        if _QUOTES in line:
            return "\n".join(parts)
    return _refuse(number, f"the text is not closed by {_QUOTES}")


def _base(number: int, argument: str) -> str:
    if argument.startswith(("/", "./", "../", "~")) or argument.lower().endswith(_FILE_ENDINGS):
        _refuse(number, "FROM takes the name of a model that is here, and no path; `slmreg list` shows them")
    return argument


def _add_parameter(draft: Draft, number: int, argument: str) -> None:
    name, text = _word(argument)
    if not text:
        _refuse(number, "PARAMETER takes a name and a value")
    add_parameter(draft.parameters, name, _unquoted(text))


def _message(number: int, argument: str) -> dict[str, str]:
    role, text = _word(argument)
    if role not in ROLES or not text:
        _refuse(number, f"MESSAGE takes a role ({', '.join(ROLES)}) and a text")
    return {"role": role, "content": _unquoted(text)}


def _as_value(text: str) -> Any:
    """A number or a truth value where it is one."""
    try:
        value = json.loads(text.lower())
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float) else text


def _word(text: str) -> tuple[str, str]:
    """The first word, and what stands behind it; "" for what is not there."""
    word, *rest = [*text.strip().split(maxsplit=1), "", ""][:2]
    return word, rest[0]


def _unquoted(text: str) -> str:
    for quotes in (_QUOTES, '"'):
        if len(text) >= 2 * len(quotes) and text.startswith(quotes) and text.endswith(quotes):
            inner = text[len(quotes) : -len(quotes)]
            return inner.strip("\n") if quotes == _QUOTES else inner
    return text


def _quoted(text: str) -> str:
    return f"{_QUOTES}{text}{_QUOTES}" if "\n" in text or '"' in text else f'"{text}"'


def _refuse(number: int, reason: str) -> NoReturn:
    raise InvalidRequest(f"Line {number} of the Modelfile: {reason}.")
