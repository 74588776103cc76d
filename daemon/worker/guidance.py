"""Answers that have to look like something: a JSON schema, an expression or a grammar, held by llguidance.

Schemas and grammars come from strangers. Bounded are their size and nesting, the time to prepare them, and what
llguidance 1.9 may spend on one token; references that lead from one to the next recurse on a stack made for that. What
cannot be held to is refused before anything is generated.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daemon.pool.protocol import Guide
from daemon.worker.large_stack import LargeStack
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed, InvalidRequest

if TYPE_CHECKING:  # the library takes 7 MB and 50 ms, and most workers never need it
    from llguidance import LLMatcher, LLTokenizer

# What takes the library long grows with these: the time that follows is a last resort, because it cannot be stopped.
MAX_CHARACTERS = {"json_object": 0, "json_schema": 256 * 1024, "regex": 16 * 1024, "lark": 64 * 1024}
MAX_TOOLS_CHARACTERS = 256 * 1024
MAX_SCHEMA_DEPTH = 64
MAX_PROPERTIES = 1000
# A hundred expressions that all have to match need 1.3 s until the library refuses them; what is in use takes
# milliseconds.
MAX_PREPARE_S = 2.0
_MAX_ERROR_CHARACTERS = 300
_KEPT_GRAMMARS = 4
# A state of the lexer takes 1-2 kB. With a fifth of the library's own fuel (a million) an expression that explodes
# costs 0.4 s and 50 MB instead of 1.4 s and 250 MB, and 10,000 texts to choose from still fit. The other limits are the
# library's.
_MAX_LEXER_STATES = 20_000
_LEXER_FUEL = 200_000
# As Python writes JSON, which models have read most of. With white space that they may choose, some never end.
JSON_STYLE: Mapping[str, Any] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "coerce_one_of": True,
    "lenient": False,
}
_NAMES = {"json_object": "JSON mode", "json_schema": "JSON schema", "regex": "regular expression", "lark": "grammar"}
_TOOLS = "set of tools"
_PARAM = "response_format"
_ANY_OBJECT = '{"type": "object"}'
_EMPTY_LANGUAGE = "NoExtension"


class GrammarConstraint:
    """See ``daemon.worker.constraint``. Tokens beyond the tokenizer's vocabulary are never allowed."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def apply(self, logits: Logits) -> Logits:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise GenerationFailed(
                "The form that was asked for became too complex to be followed. Ask for a simpler schema or grammar."
            )
        allowed = np.unpackbits(bits, bitorder="little")[: len(logits)].view(np.bool_)
        masked = np.full_like(logits, -np.inf)
        np.copyto(masked[: len(allowed)], logits[: len(allowed)], where=allowed)
        return masked

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)

    def fitting(self, tokens: Sequence[int]) -> int:
        # To be asked about a token that it does not know breaks the matcher.
        known = itertools.takewhile(lambda token: token < self._vocab_size, tokens)
        return int(self._matcher.validate_tokens(list(known)))

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_stopped() and not self._matcher.is_error()


class Guidance:
    """Makes constraints for one model. Its tokenizer is read when the first is asked for: 0.5 s for 152k tokens."""

    def __init__(
        self, tokenizer_file: Path, end_ids: Collection[int], *, stack: LargeStack[LLMatcher] | None = None
    ) -> None:
        self._tokenizer_file = tokenizer_file
        self._end_ids = sorted(end_ids)
        self._stack = stack or LargeStack(timeout_s=MAX_PREPARE_S)
        self._loaded: LLTokenizer | None = None
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()

    def constraint(self, guide: Guide) -> GrammarConstraint:
        """Raises InvalidRequest for what cannot be held to."""
        if guide.kind not in _NAMES:
            raise InvalidRequest(f"There is no guide of kind {guide.kind!r:.50}.", param=_PARAM)
        name = _NAMES[guide.kind]
        _check_size(guide.text, MAX_CHARACTERS[guide.kind], name, _PARAM)
        return self._constraint(_grammar(guide), name, _PARAM)

    def calls_constraint(self, grammar: str) -> GrammarConstraint:
        """For ``grammar`` of the offered tools, in Lark's notation. Raises InvalidRequest."""
        from llguidance import LLMatcher

        _check_size(grammar, MAX_TOOLS_CHARACTERS, _TOOLS, "tools")
        return self._constraint(LLMatcher.grammar_from_lark(grammar), _TOOLS, "tools")

    def _constraint(self, grammar: str, name: str, param: str) -> GrammarConstraint:
        matcher = self._kept.get(grammar) or self._prepared(grammar, name, param)
        self._kept[grammar] = matcher
        self._kept.move_to_end(grammar)
        if len(self._kept) > _KEPT_GRAMMARS:
            self._kept.popitem(last=False)
        return GrammarConstraint(matcher.deep_copy(), self._tokenizer(param).vocab_size)

    def _prepared(self, grammar: str, name: str, param: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        tokenizer = self._tokenizer(param)

        def prepare() -> LLMatcher:
            limits = LLParserLimits(
                max_lexer_states=_MAX_LEXER_STATES, initial_lexer_fuel=_LEXER_FUEL, verbose_errors=False
            )
            matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
            # Some errors show with the first token only.
            trial = matcher.deep_copy()
            trial.compute_bitmask()
            return trial if trial.is_error() else matcher

        try:
            matcher = self._stack.call(prepare)
        except TimeoutError:
            raise InvalidRequest(
                f"The {name} is too complex: it was not prepared in time. Make it smaller.", param=param
            ) from None
        except Exception as error:
            raise InvalidRequest(f"The {name} cannot be followed: {_reason(str(error))}.", param=param) from error
        if matcher.is_error():
            raise InvalidRequest(f"The {name} cannot be followed: {_reason(matcher.get_error())}.", param=param)
        return matcher

    def _tokenizer(self, param: str) -> LLTokenizer:
        from llguidance import LLTokenizer

        if self._loaded is None:
            try:
                text = self._tokenizer_file.read_text(encoding="utf-8-sig")
                self._loaded = LLTokenizer(text, eos_token=list(self._end_ids) or None)
            except Exception as error:  # the library raises what it likes
                raise InvalidRequest(
                    f"This model's tokenizer cannot be used to guide an answer: {_reason(str(error))}. Choose another "
                    "model, or leave the parameter out.",
                    param=param,
                ) from error
        return self._loaded


def check_schema(schema: Any, param: str) -> None:
    """Raises InvalidRequest for a JSON schema that is none, or larger than the library can take in good time."""
    if not isinstance(schema, dict):
        raise InvalidRequest("A JSON schema must be an object.", param=param)
    if _is_deeper(schema, MAX_SCHEMA_DEPTH):
        raise InvalidRequest(f"The JSON schema is nested more than {MAX_SCHEMA_DEPTH} deep.", param=param)
    if _most_properties(schema) > MAX_PROPERTIES:
        raise InvalidRequest(f"The JSON schema has an object of more than {MAX_PROPERTIES} properties.", param=param)


def parse_schema(guide: Guide) -> dict[str, Any]:
    """The JSON schema of a guide of kind "json_object" or "json_schema". Raises InvalidRequest."""
    try:
        schema = json.loads(guide.text or _ANY_OBJECT)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The JSON schema is not valid JSON: {error}.", param=_PARAM) from error
    schema = {} if schema is True else schema
    check_schema(schema, _PARAM)
    return dict(schema)


def _check_size(text: str, most: int, name: str, param: str) -> None:
    if len(text) > most:
        raise InvalidRequest(f"The {name} has {len(text)} characters; more than {most} are not taken.", param=param)


def _grammar(guide: Guide) -> str:
    """llguidance's own form of the guide."""
    from llguidance import LLMatcher

    if guide.kind == "regex":
        return LLMatcher.grammar_from_regex(guide.text)
    if guide.kind == "lark":
        return LLMatcher.grammar_from_lark(guide.text)
    schema = json.dumps(parse_schema(guide))
    try:
        return LLMatcher.grammar_from_json_schema(schema, overrides=dict(JSON_STYLE))  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidRequest(f"The JSON schema cannot be followed: {_reason(str(error))}.", param=_PARAM) from error


def _most_properties(value: Any) -> int:
    """Of all objects that a schema describes, the most that one of them has."""
    if isinstance(value, list):
        return max(map(_most_properties, value), default=0)
    if not isinstance(value, dict):
        return 0
    own = sum(len(value[key]) for key in ("properties", "patternProperties") if isinstance(value.get(key), dict))
    return max(own, *map(_most_properties, value.values()), 0)


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested more than ``levels`` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels <= 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _reason(error: str) -> str:
    """What the library says, in one line; of what it says about its own state, only what that means."""
    if error.startswith(_EMPTY_LANGUAGE):
        return "there is no text that matches it"
    said = re.split("<state>|<backtrace>|<non-verbose/>", error)[0]
    return " ".join(said.split())[:_MAX_ERROR_CHARACTERS]
