"""Jinja2 as Hugging Face sets it up for chat templates, with bounds: templates come from strangers.

The sandbox keeps a template from Python's internals and from changing its arguments. On top of that, bounded here are
* processor time: checked at every loop step and at every call of a function, method or macro;
* the size of the result, and of each string, list and number on the way that ``+ * ** % ~``, ``join``, ``replace``,
  ``indent`` and the padding methods of strings make;
* recursion, by Python's own limit.
Filters that only pad or decorate text and that no chat template needs are taken out. Not bounded is the text form of
lists nested in one another over and over; it ends, at worst, with this worker process.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn, cast

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARS = 16 * 1024 * 1024
MAX_RENDER_S = 5.0
_MAX_NUMBER_BITS = 4096
_MAX_PADDING = 1024
_PADDING_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
# Widths and precisions of four digits and more, and those that are computed: "%*d", "{:>{}}".
_WIDE_FORMATS = {
    "%": re.compile(r"%(?:\([^)]*\))?[-+ #0]*(?:\d*\.)?(?:\d{4}|\*)"),
    "{": re.compile(r"\{[^}]*:[^}]*(?:\d{4}|\{)"),
}
_REMOVED_FILTERS = ("batch", "center", "format", "pprint", "slice", "sum", "urlize", "wordwrap", "xmlattr")
_STEPS = "_bounded_steps"
_CONCAT = "_bounded_concat"


class TemplateBoundExceeded(TemplateError):
    """The template does more than a chat template may."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """An environment whose templates are rendered one at a time, through ``render``."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, max_render_s: float = MAX_RENDER_S, max_chars: int = MAX_CHARS) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols])
        self._max_render_s = max_render_s
        self._max_chars = max_chars
        self._deadline = time.thread_time() + max_render_s
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        del self.globals["lipsum"]
        plain = dict(self.filters)
        self.filters |= {
            "tojson": self._to_json,
            "join": self._guarded(plain["join"], _joined_size),
            "replace": self._guarded(plain["replace"], _replaced_size),
            "indent": self._guarded(plain["indent"], _indented_size),
            _STEPS: self._steps,
            _CONCAT: self._concat,
        }
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def render(self, template: Template, variables: Mapping[str, Any]) -> str:
        """The text of one of this environment's templates. Raises TemplateError, and whatever its code raises."""
        self._deadline = time.thread_time() + self._max_render_s
        pieces: list[str] = []
        chars = 0
        for piece in template.generate(variables):
            chars += len(piece)
            self._check_size(chars)
            pieces.append(piece)
        return "".join(pieces)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._check_time()
        self._check_method(obj, args)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(operator, left, right)
        elif operator == "+":
            self._check_size(_size(left) + _size(right))
        elif operator == "*":
            sized, times = (left, right) if _size(left) else (right, left)
            self._check_size(_size(sized) * (times if isinstance(times, int) else 1))
        elif operator == "%" and isinstance(left, str):
            self._check_size(_formatted_size(left, "%", right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The sandbox's own ``format`` and ``format_map`` of a text, bounded too."""
        plain = super().wrap_str_format(value)
        if plain is None:
            return None

        def guarded(*args: Any, **kwargs: Any) -> str:
            self._check_size(_formatted_size(value.__self__, "{", (args, kwargs)))
            return plain(*args, **kwargs)

        return guarded

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse, and let every loop and every ``~`` pass through a filter that counts."""
        template = Parser(self, source, name, filename).parse()
        for loop in list(template.find_all(nodes.For)):
            loop.iter = _filter(_STEPS, cast(nodes.Expr, loop.iter))
        self._bound_concats(template)
        return template

    def _bound_concats(self, node: nodes.Node) -> None:
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, self._bounded_concat(value))
            elif isinstance(value, list):
                setattr(node, field, [self._bounded_concat(v) if isinstance(v, nodes.Node) else v for v in value])

    def _bounded_concat(self, node: nodes.Node) -> nodes.Node:
        self._bound_concats(node)
        if isinstance(node, nodes.Concat):
            return _filter(_CONCAT, nodes.List(node.nodes, lineno=node.lineno, environment=node.environment))
        return node

    def _check_time(self) -> None:
        if time.thread_time() > self._deadline:
            raise TemplateBoundExceeded(f"the template did not finish within {self._max_render_s:g} s")

    def _check_size(self, chars: int) -> None:
        if chars > self._max_chars:
            raise TemplateBoundExceeded(f"the template makes a text or list of more than {self._max_chars} characters")

    def _check_method(self, function: Any, args: tuple[Any, ...]) -> None:
        """Refuse a call of a string's method that would make something huge out of something small."""
        text, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if not isinstance(text, str):
            return
        if name in _PADDING_METHODS and any(isinstance(arg, int) and arg > _MAX_PADDING for arg in args):
            raise TemplateBoundExceeded(f"the template pads text to more than {_MAX_PADDING} characters")
        if name == "replace":
            self._check_size(_replaced_size(text, *args))
        elif name == "join":
            self._check_size(_joined_size(args[0] if args else (), text))

    def _guarded(self, plain: Callable[..., Any], size: Callable[..., int]) -> Callable[..., Any]:
        """The filter ``plain``, refused where ``size`` of its arguments is too much."""
        takes_context = hasattr(plain, "jinja_pass_arg")

        def guarded(first: Any, *args: Any, **kwargs: Any) -> Any:
            value, rest = (args[0], args[1:]) if takes_context else (first, args)
            self._check_size(size(value, *rest, **kwargs))
            return plain(first, *args, **kwargs)

        if takes_context:
            guarded.jinja_pass_arg = plain.jinja_pass_arg  # type: ignore[attr-defined]
        return guarded

    def _steps(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._check_time()
            yield item

    def _concat(self, parts: list[Any]) -> str:
        texts = [str(part) for part in parts]
        self._check_size(sum(map(len, texts)))
        return "".join(texts)

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        if isinstance(indent, int) and indent > _MAX_PADDING:
            raise TemplateBoundExceeded(f"the template indents JSON by more than {_MAX_PADDING} characters")
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _GenerationBlock(Extension):
    """``{% generation %}`` marks the assistant's text for training; here it only passes its content on."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


def _filter(name: str, value: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno, environment=value.environment)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple)) else 0


def _check_bits(operator: str, left: int, right: int) -> None:
    bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
    if bits > _MAX_NUMBER_BITS:
        raise TemplateBoundExceeded(f"the template computes a number of more than {_MAX_NUMBER_BITS} bits")


def _joined_size(value: Iterable[Any] = (), d: str = "", *_: Any, **__: Any) -> int:
    if not isinstance(value, (list, tuple, str)):
        return 0  # made by a filter or a loop: its items exist already, or are counted
    return len(str(d)) * len(value) + sum(len(item) for item in value if isinstance(item, str))


def _replaced_size(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> int:
    whole = str(text)
    return len(whole) + whole.count(str(old)) * len(str(new))


def _indented_size(text: Any, width: int | str = 4, *_: Any, **__: Any) -> int:
    step = len(width) if isinstance(width, str) else width
    return len(str(text)) + (str(text).count("\n") + 1) * step


def _formatted_size(text: str, mark: str, values: Any) -> int:
    """Most characters that formatting ``values`` into ``text`` makes. Refuses widths that are large or computed."""
    if _WIDE_FORMATS[mark].search(text):
        raise TemplateBoundExceeded(f"the template pads text to more than {_MAX_PADDING} characters")
    longest = max(len(str(values)), _MAX_PADDING)
    return len(text) + text.count(mark) * longest


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    """Local time, as templates that tell the model today's date expect."""
    return datetime.now().astimezone().strftime(form)
