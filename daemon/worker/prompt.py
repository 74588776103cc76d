"""A chat becomes the text that a model was trained to continue, by a template of one of two kinds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jinja2 import Template, TemplateSyntaxError

from daemon.worker.bounded_jinja import BoundedEnvironment
from daemon.worker.errors import LoadCode, LoadError
from registry.errors import InvalidRequest

FOUNDRY_FILE = "inference_model.json"
# What templates call it: Qwen3 and SmolLM3 the first, Granite and DeepSeek the second.
_THINKING_SWITCHES = ("enable_thinking", "thinking")

Messages = Sequence[Mapping[str, Any]]


class ChatTemplate(Protocol):
    """``source`` is the name of the file the template stands in, or says that it is a family's default."""

    @property
    def source(self) -> str: ...

    def render(self, messages: Messages, tools: Sequence[Mapping[str, Any]], *, thinking: bool | None = None) -> str:
        """The prompt, up to where the assistant's answer begins. Raises InvalidRequest.

        ``thinking``: whether the model is to reason first; None leaves that to the template.
        """
        ...


class JinjaTemplate:
    """Hugging Face's kind. Of several named templates ``tool_use`` is taken when there are tools, else ``default``."""

    def __init__(self, source: str, named: Mapping[str, str], tokens: Mapping[str, str]) -> None:
        self.source = source
        self._tokens = tokens
        self._environment = BoundedEnvironment()
        self._named = {name: self._compiled(name, text) for name, text in named.items()}
        self._roles = {} if any("developer" in text for text in named.values()) else {"developer": "system"}

    def render(self, messages: Messages, tools: Sequence[Mapping[str, Any]], *, thinking: bool | None = None) -> str:
        template = self._named.get("tool_use" if tools else "default")
        if template is None:
            template = self._named.get("default") or next(iter(self._named.values()))
        normal = [_normalized(message, self._roles, takes_images=True) for message in messages]
        variables = {
            **self._tokens,
            "messages": normal,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": True,
        }
        if thinking is not None:  # a template may ask whether they are defined
            variables |= dict.fromkeys(_THINKING_SWITCHES, thinking)
        try:
            try:
                return self._environment.render(template, variables)
            except TypeError:  # DeepSeek's put the arguments of calls together with text, as they are
                variables["messages"] = list(map(_with_text_arguments, normal))
                return self._environment.render(template, variables)
        except Exception as error:  # a template is a program of the model's maker: it can raise anything
            message = str(error) or type(error).__name__
            raise InvalidRequest(f"The model's chat template refused this chat: {message}", param="messages") from error

    def _compiled(self, name: str, text: str) -> Template:
        try:
            return self._environment.from_string(text)
        except TemplateSyntaxError as error:
            raise LoadError(
                LoadCode.INVALID_FILE,
                f"The chat template {name!r} in {self.source} is not valid Jinja: line {error.lineno}: "
                f"{error.message}. Replace the file with the one of the original model.",
            ) from error


class PlaceholderTemplate:
    """Foundry's kind: one text per role with ``{Content}`` in it, and ``prompt`` for the user's turn to be answered.

    Where the folder has no text for a role: a user's turn is written like ``prompt`` and an assistant's as its bare
    content, a system message stands in front of the user's next turn, and a tool's result is a user's turn.
    """

    source = FOUNDRY_FILE

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._prompt = parts["prompt"]
        self._user = parts.get("user") or self._prompt
        self._assistant = parts.get("assistant") or "{Content}"
        self._system = parts.get("system")
        self._tool = parts.get("tool") or self._user

    def render(self, messages: Messages, tools: Sequence[Mapping[str, Any]], *, thinking: bool | None = None) -> str:
        """``tools`` and ``thinking`` are left out: this form has no place for them."""
        text = ""
        preface = ""
        last = len(messages) - 1
        for index, message in enumerate(_normalized(message, {"developer": "system"}) for message in messages):
            role, content = message.get("role"), message["content"]
            if role == "system" and not self._system:
                preface += content + "\n\n"
                continue
            if role == "user":
                content, preface = preface + content, ""
            text += _fill(self._of_role(role, is_last=index == last), content)
        return text + (self._answer_opening() if messages[last].get("role") != "user" else "")

    def _of_role(self, role: object, *, is_last: bool) -> str:
        if role == "user":
            return self._prompt if is_last else self._user
        by_role = {"system": self._system, "assistant": self._assistant, "tool": self._tool}
        template = by_role.get(str(role))
        if template is None:
            raise InvalidRequest(
                f"The role {role!r} is not known; use system, user, assistant or tool.", param="messages"
            )
        return template

    def _answer_opening(self) -> str:
        """What ``prompt`` has after a user's turn, as far as that can be told."""
        return self._prompt.removeprefix(self._user) if self._prompt.startswith(self._user) else ""


def _fill(template: str, content: str) -> str:
    return template.replace("{Content}", content).replace("{Tool}", content)


def _normalized(message: Mapping[str, Any], roles: Mapping[str, str], *, takes_images: bool = False) -> dict[str, Any]:
    """A message as templates expect it: text content, arguments of tool calls as objects, nothing that is null.

    Content with an image in it (``{"type": "image"}``) stays a list of parts where the template may take that.
    """
    normal = {key: value for key, value in message.items() if value is not None}
    normal["role"] = roles.get(str(message.get("role")), message.get("role"))
    content = message.get("content")
    has_images = takes_images and isinstance(content, list) and {"type": "image"} in content
    normal["content"] = content if has_images else _flattened(content)
    if "tool_calls" in normal:
        normal["tool_calls"] = [_with_object_arguments(call) for call in normal["tool_calls"]]
    return normal


def _flattened(content: Any) -> str:
    """OpenAI's content, a string or a list of parts, as one text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest(
            "This model takes only text: every part of a message must be of type 'text'.", param="messages"
        )
    return "\n".join(map(str, texts))


def _with_object_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI sends arguments as JSON text, and templates write them out as JSON again: text would be quoted twice."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return dict(call)
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}


def _with_text_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """A normalized message, with the arguments of its tool calls as JSON text."""
    calls = [
        {**call, "function": {**call["function"], "arguments": _json(call["function"].get("arguments"))}}
        for call in message.get("tool_calls") or ()
        if isinstance(call.get("function"), dict)
    ]
    return {**message, "tool_calls": calls} if calls else dict(message)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
