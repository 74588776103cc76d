"""How one model writes answers, and what a request wants of one: makes the two objects that an answer runs through.

Tool calls and reasoning are told apart from the text by the marks that this model uses. Where a request demands a form
or a call, a constraint holds the model to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

from daemon.pool.protocol import Generate, Guide
from daemon.worker.after_reasoning import AfterReasoning
from daemon.worker.answer import AnswerText
from daemon.worker.constraint import Constraint
from daemon.worker.guidance import JSON_STYLE, Guidance, check_schema, parse_schema
from daemon.worker.reasoning import THINK, ReasoningSplitter
from daemon.worker.text import TextDecoder
from daemon.worker.tools.forms import HERMES, Form, layout_of
from daemon.worker.tools.grammar import calls_grammar
from daemon.worker.tools.parser import ToolCallParser
from registry.errors import InvalidRequest
from registry.model import Markers

_DEMANDS = ("required", "function")


class Tokenizer(TextDecoder, Protocol):
    def encode(self, text: str) -> list[int]: ...


class AnswerFormat:
    """``reasoning`` None: nothing says that the model reasons, though it may; ``end_ids`` end an answer."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        guidance: Guidance,
        *,
        forms: tuple[Form, ...] = (HERMES,),
        reasoning: Markers | None = None,
        end_ids: Collection[int] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._guidance = guidance
        self._forms = forms
        self._reasons = reasoning is not None
        self._markers = reasoning or THINK
        self._end_ids = end_ids
        self._tool_marks = self._special(mark for form in forms for mark in form.marks)
        self._reasoning_marks = self._special((self._markers.start, self._markers.end))

    def text(self, request: Generate, prompt: str) -> AnswerText:
        """What turns one answer to ``request`` into text, reasoning and tool calls; ``prompt`` ends where it begins."""
        if request.prompt is not None:
            return AnswerText(self._tokenizer, request.stop)
        tools = None
        if request.tools and request.tool_choice != "none":
            most = None if request.has_parallel_calls else 1
            tools = ToolCallParser(self._forms, _schemas(request.tools), special=self._tool_marks, most=most)
        return AnswerText(
            self._tokenizer,
            request.stop,
            reasoning=ReasoningSplitter(self._markers, is_open=prompt.rstrip().endswith(self._markers.start)),
            tools=tools,
            reasoning_marks={token: mark for mark, token in self._reasoning_marks.items()},
            tool_marks={token: mark for mark, token in self._tool_marks.items()} if tools else {},
        )

    def begun(self, prompt: str, prefill: str) -> str:
        """``prompt`` with how the answer begins; a thought that it opens is ended before."""
        if prefill and prompt.rstrip().endswith(self._markers.start):
            prompt = f"{prompt.rstrip()}\n\n{self._markers.end}\n\n"
        return prompt + prefill

    def constraint(self, request: Generate, text: AnswerText) -> Constraint | None:
        """What holds the answer that goes through ``text`` to the form that was asked for, if one was.

        Raises InvalidRequest.
        """
        answer: Constraint | None = None
        if request.tool_choice in _DEMANDS:
            answer = self._demanded_call(request)
        elif request.guide is not None:
            answer = self._guided(request, request.guide)
        may_reason = text.is_reasoning or (self._reasons and request.thinking is not False)
        if answer is None or not may_reason:
            return answer
        start_id = self._token(self._markers.start)
        return AfterReasoning(answer, text, end_ids=self._end_ids, start_id=start_id)

    def _guided(self, request: Generate, guide: Guide) -> Constraint:
        """The form that was asked for, or else a call where tools are offered and the form is one of JSON."""
        constraint = self._guidance.constraint(guide)
        is_json = guide.kind in ("json_object", "json_schema")
        if not is_json or not request.tools or request.tool_choice == "none":
            return constraint
        return self._calls(request, _schemas(request.tools), answer=parse_schema(guide))

    def _demanded_call(self, request: Generate) -> Constraint:
        schemas = _schemas(request.tools)
        if request.tool_choice == "function":
            schemas = {name: schema for name, schema in schemas.items() if name == request.tool_name}
        if not schemas:
            raise InvalidRequest(
                f"A call of {request.tool_name or 'a tool'} is demanded, and no such tool is among 'tools'.",
                param="tool_choice",
            )
        return self._calls(request, schemas)

    def _calls(
        self, request: Generate, schemas: Mapping[str, Mapping[str, Any]], answer: Mapping[str, Any] | None = None
    ) -> Constraint:
        for schema in schemas.values():
            check_schema(schema, "tools")
        grammar = calls_grammar(
            layout_of(self._forms),
            schemas,
            JSON_STYLE,
            is_parallel=request.has_parallel_calls and request.tool_choice != "function",
            special=self._tool_marks,
            answer=answer,
        )
        return self._guidance.calls_constraint(grammar)

    def _special(self, marks: Iterable[str]) -> dict[str, int]:
        """Those of ``marks`` that are one token each, which has no text of its own."""
        found = {mark: self._token(mark) for mark in marks}
        return {mark: token for mark, token in found.items() if token is not None and self._tokenizer.is_silent(token)}

    def _token(self, mark: str) -> int | None:
        """The one token that ``mark`` is. Some tokenizers put a space of their own before it."""
        ids = self._tokenizer.encode(mark)
        if len(ids) == 2 and not self._tokenizer.decode(ids[:1]).strip():
            del ids[0]
        return ids[0] if len(ids) == 1 else None


def _schemas(tools: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The parameters of each tool by its name."""
    functions = [tool["function"] for tool in tools]
    return {function["name"]: function.get("parameters") or {} for function in functions}
