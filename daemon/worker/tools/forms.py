"""The forms in which families of models write tool calls, and which of them a model uses.

That is told by its chat template, or by what Foundry's catalog says of it; never by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.worker.tools.calls import Calls
from daemon.worker.tools.feed import Feed, Reading
from daemon.worker.tools.json_reading import read_json_calls
from daemon.worker.tools.named_reading import (
    DEEPSEEK_CALL,
    DEEPSEEK_CALL_END,
    DEEPSEEK_SEPARATOR,
    FUNCTION,
    MISTRAL_ARGUMENTS,
    MISTRAL_ID,
    read_deepseek_calls,
    read_function,
    read_mistral_call,
    read_tagged_call,
)
from registry.model import Markers

Reader = Callable[[Feed, Calls], Reading[bool]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How calls are to be written where the request demands one. ``before`` and ``after`` stand around the arguments.

    ``before`` has the tool's name in place of ``{name}``. Without ``separator`` there can be only one call.
    """

    before: str
    after: str
    begin: str = ""
    end: str = ""
    separator: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """``opener`` begins a call and one of ``readers`` reads what follows, up to ``closer``, which may be missing.

    ``inner`` are marks that stand within. ``is_bare``: a call may also be the whole answer, without the opener.
    """

    opener: str
    readers: tuple[Reader, ...]
    closer: str = ""
    inner: tuple[str, ...] = ()
    layout: Layout | None = None
    is_bare: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.opener, self.closer, *self.inner)))


def _listed(opener: str, closer: str) -> Form:
    layout = Layout('{"name": "{name}", "arguments": ', "}", begin=f"{opener}[", end=f"]{closer}", separator=", ")
    return Form(opener, (read_json_calls,), closer, layout=layout)


def _deepseek(before: str, after: str, *, separator: str) -> Form:
    begin, end = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
    return Form(
        begin,
        (read_deepseek_calls,),
        end,
        inner=(DEEPSEEK_CALL, DEEPSEEK_CALL_END, DEEPSEEK_SEPARATOR),
        layout=Layout(DEEPSEEK_CALL + before, after + DEEPSEEK_CALL_END, begin, end, separator),
    )


HERMES = Form(  # Qwen, Hermes, SmolLM3, Granite 3.3; Qwen3-Coder with tags in it
    "<tool_call>",
    (read_json_calls, read_tagged_call),
    "</tool_call>",
    layout=Layout('<tool_call>\n{"name": "{name}", "arguments": ', "}\n</tool_call>", separator="\n"),
)
LLAMA = Form(
    "<|python_tag|>",
    (read_json_calls,),
    layout=Layout('{"name": "{name}", "parameters": ', "}"),
    is_bare=True,
)
MISTRAL_LIST = Form(
    "[TOOL_CALLS]",
    (read_json_calls, read_mistral_call),
    layout=Layout('{"name": "{name}", "arguments": ', "}", begin="[TOOL_CALLS][", end="]", separator=", "),
)
MISTRAL_NAMED = Form(
    "[TOOL_CALLS]",
    (read_json_calls, read_mistral_call),
    inner=(MISTRAL_ARGUMENTS, MISTRAL_ID),
    layout=Layout("[TOOL_CALLS]{name}[ARGS]", "", separator=""),
)
PHI = _listed("<|tool_call|>", "<|/tool_call|>")
GRANITE = _listed("<|tool_call|>", "")
FUNCTOOLS = _listed("functools", "")  # Phi-4
NEMOTRON = _listed("<TOOLCALL>", "</TOOLCALL>")
DEEPSEEK = _deepseek(f"function{DEEPSEEK_SEPARATOR}{{name}}\n```json\n", "\n```", separator="\n")  # V3, R1
DEEPSEEK_PLAIN = _deepseek(f"{{name}}{DEEPSEEK_SEPARATOR}", "", separator="")  # V3.1
TAGGED = Form(FUNCTION, (read_function,))  # Qwen3-Coder without the marks around it, Llama 3.1

# In the order in which a template's text is looked at; of two with one opener the first counts.
_BY_MARKS: tuple[tuple[tuple[str, ...], Form], ...] = (
    (("<tool_call>",), HERMES),
    (("[TOOL_CALLS]", "[ARGS]"), MISTRAL_NAMED),
    (("[TOOL_CALLS]",), MISTRAL_LIST),
    (("<|tool_call|>", "<|/tool_call|>"), PHI),
    (("<|tool_call|>",), GRANITE),
    (("<TOOLCALL>",), NEMOTRON),
    (("<｜tool▁calls▁begin｜>", "```json"), DEEPSEEK),
    (("<｜tool▁calls▁begin｜>",), DEEPSEEK_PLAIN),
    (("functools[",), FUNCTOOLS),
    (("<|python_tag|>",), LLAMA),
    (('{"name": function name, "parameters":',), LLAMA),
    ((FUNCTION,), TAGGED),
)


def _no_token(_mark: str) -> bool:
    return False


def forms_of(
    template: str, markers: Markers | None = None, *, is_token: Callable[[str], bool] = _no_token
) -> tuple[Form, ...]:
    """The forms that a model's calls may have: by the text of its chat template, else by the ``markers`` of a catalog.

    Else by the marks that are a token of its vocabulary, which ``is_token`` tells. A model of which nothing is known
    writes them as most do.
    """
    found = _found(template.__contains__)
    if not found and markers is not None:
        known = next((form for _, form in _BY_MARKS if form.opener == markers.start), None)
        return (known or _listed(markers.start, markers.end),)
    found = found or _found(is_token)
    return found if any(form.layout for form in found) else (*found, HERMES)


def _found(has: Callable[[str], bool]) -> tuple[Form, ...]:
    found: dict[str, Form] = {}
    for marks, form in _BY_MARKS:
        if all(map(has, marks)):
            found.setdefault(form.opener, form)
    return tuple(found.values())


def layout_of(forms: Sequence[Form]) -> Layout:
    """How calls are to be written that a request demands of a model with these ``forms``."""
    return next(form.layout for form in forms if form.layout is not None)
