"""What a text shows of the task behind it: signs of form (code, numbers, formulas), and words of the groups.

Invariant: however long a text is, ``MOST_CHARS`` characters of it are read, every pattern takes time linear in them,
and no value holds text of the prompt: what was found is named by our own phrases and the entries of our lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from registry.model import Task
from selector.task_words import GROUPS, UNSPACED, Lexicon, build_lexicon, is_unspaced

# The tasks that a text can show.
TASKS_BY_TEXT = (Task.CHAT, Task.CODE, Task.MATH, Task.REASONING)

# Of a longer text the beginning and the end are read (judged). What is asked stands in the first or the last
# sentences, so only there words count; what lies between is material, and its form says enough.
MOST_CHARS = 900
_MOST_WORD_CHARS = 720
_HEAD_SHARE = 2 / 3
_MOST_LINES = 60

# By how often something occurs: the second time says less than the first, the fourth nothing.
_SATURATION = (0.0, 1.0, 1.6, 2.0)

_LINE_STARTS = (
    *("def ", "class ", "import ", "from ", "return ", "for (", "if (", "while (", "public ", "private ", "static "),
    *(
        "void ",
        "fn ",
        "func ",
        "function ",
        "const ",
        "let ",
        "var ",
        "#include",
        "using ",
        "package ",
        "use ",
        "struct ",
    ),
    *(
        "SELECT ",
        "INSERT ",
        "UPDATE ",
        "DELETE ",
        "CREATE ",
        "FROM ",
        "WHERE ",
        "elif ",
        "else:",
        "try:",
        "print(",
        "@",
    ),
    *(
        "$ ",
        ">>> ",
        "FROM ",
        "RUN ",
        "sudo ",
        "git ",
        "pip ",
        "npm ",
        "docker ",
        "#!/",
        "<?php",
        "async ",
        "impl ",
        "//",
    ),
)
_OPERATORS = (
    "==",
    "!=",
    "&&",
    "||",
    "=>",
    "->",
    "+=",
    "::",
    "();",
    "</",
    "/>",
    "[]",
    "{}",
    "++",
    "--;",
    "<<",
    "%d",
    "${",
)
_TRACES = (
    *("Traceback (most recent", 'File "', "Exception in thread", "\tat ", "    at ", "panicked at", "core dumped"),
    *("egmentation fault", "undefined reference", "npm ERR!", "error:", "Error:", "fatal:", "command not found"),
    *(
        "error[",
        "error TS",
        "is not defined",
        "is not a function",
        "not declared",
        "No module named",
        "ermission denied",
    ),
)
_FILE_ENDINGS = (
    r"py|js|ts|tsx|jsx|java|cpp|cc|hpp|cs|go|rs|rb|php|sh|ps1|sql|html|css|json|ya?ml|toml|ipynb|kt|swift|xml|csv|c|h"
)


_DIGITS = "0123456789"


def _count(pattern: str) -> Callable[[str], int]:
    found = re.compile(pattern).findall
    return lambda text: len(found(text))


def _count_beyond_ascii(pattern: str) -> Callable[[str], int]:
    count = _count(pattern)
    return lambda text: 0 if text.isascii() else count(text)


def _count_any(literals: tuple[str, ...]) -> Callable[[str], int]:
    return lambda text: sum(map(text.count, literals))


def _count_line_starts(text: str) -> int:
    lines = text.split("\n", _MOST_LINES)[:_MOST_LINES]
    return sum(line.lstrip().startswith(_LINE_STARTS) for line in lines) if len(lines) > 1 else 0


@dataclass(frozen=True, slots=True)
class _Sign:
    """``phrase`` names it to people. Only a text with one of the characters ``needs`` (all texts if "") is searched."""

    phrase: str
    count: Callable[[str], int]
    needs: str = ""

    def occurrences(self, text: str) -> int:
        return self.count(text) if not self.needs or any(map(text.__contains__, self.needs)) else 0


_CODE_SIGNS = {
    "code_block": _Sign("a code block", _count(r"```|~~~"), "`~"),
    "inline_code": _Sign("code in backticks", _count(r"`[^`\n]{1,60}`"), "`"),
    "line_ends": _Sign("lines of code", _count(r"[;{}](?=[ \t]{0,3}(?:\n|$))"), ";{}"),
    "line_starts": _Sign("lines of code", _count_line_starts, "\n"),
    "calls": _Sign("calls of functions", _count(r"\((?<=\w\()(?!s\))"), "("),
    "identifiers": _Sign(
        "names as in code", _count(r"_(?<=[a-z0-9]_)[a-z]|[A-Z](?<=[a-z][A-Z])[a-z]|\.(?<=[a-z]\.)[a-z]{1,30}\(")
    ),
    "operators": _Sign("operators of a programming language", _count_any(_OPERATORS), "=!&|>:(/[{+<%$"),
    "traces": _Sign("an error message", _count_any(_TRACES)),
    "error_names": _Sign("an exception", _count(r"E(?<=[a-z]E)(?:rror|xception)\b"), "E"),
    "log_levels": _Sign("lines of a log", _count(r"[EWIDF](?:RROR|ARN(?:ING)?|NFO|EBUG|ATAL)\b"), "EWIDF"),
    "file_names": _Sign("names of source files", _count(rf"\.(?<=\w\.)(?:{_FILE_ENDINGS})\b"), "."),
    "paths": _Sign("paths", _count(r"/(?<=[ \n\"'`(]/)\w{1,40}/|\.\./|~/"), "/"),
    "tags": _Sign("tags", _count(r"<(?:/?[a-z]{1,12}[1-6]?)(?:>| [a-z-]{2,20}=)"), "<"),
}
_MATH_SIGNS = {
    "numbers": _Sign("numbers", _count(r"\d+"), _DIGITS),
    "units": _Sign(
        "amounts",
        _count(r"\d ?(?:%|°|€|£|km|cm|mm|kg|mph|m/s|ml|[gm]\b|dollars?\b|euros?\b|元|米)|[$€£¥] ?\d"),
        _DIGITS + "°$€£¥",
    ),
    "arithmetic": _Sign(
        "sums", _count(r"\d ?[+*×÷^·] ?[\d(]|\d(?: [-–/] \d| ?= ?[\d?])|\)(?: ?[*+^] ?[\d(]|\()"), _DIGITS
    ),
    "algebra": _Sign(
        "an equation",
        _count(
            r"[=^+<>≤≥²³-](?:(?<=\b[a-z] .)|(?<=\b[a-z].)|(?<=\d[a-z].)) ?-?(?:\d|[a-z]\b|\()"
            r"|\d[xyzn]\b|\((?<=[a-z]\()[xynt]\)"
        ),
    ),
    "latex": _Sign(
        "a formula",
        _count(r"\\(?:d?frac|sqrt|int|sum|prod|lim|cdot|times|theta|pi|infty|leq?|geq?|mathbb|in|to|sin|cos|ln)\b"),
        "\\",
    ),
    "symbols": _Sign("mathematical symbols", _count_beyond_ascii(r"[∫∑∏√∞≠≤≥≈±∈∉⊂∪∩∀∃∂∇ℝℕℤ²³π∠⊥×÷]")),
}
_OTHER_SIGNS = {
    "options": _Sign("answers to choose from", _count(r"\n[ \t]{0,4}\(?[A-Da-d][).:] "), "\n"),
    "items": _Sign("a list of statements", _count(r"\n[ \t]{0,4}(?:[-*•]|\d{1,2}[.)]) "), "\n"),
    "names": _Sign(
        "a list of names", _count(r"[A-Z][a-z]{1,14}, [A-Z][a-z]{1,14}(?:,? (?:and|or|und|et|y) |, )[A-Z][a-z]"), ","
    ),
    "question": _Sign("a question", _count(r"[?？](?=\s{0,3}$)"), "?？"),
    "emoji": _Sign("an emoji", _count_beyond_ascii("[\U0001f300-\U0001faff]")),
}
_SIGNS = _CODE_SIGNS | _MATH_SIGNS | _OTHER_SIGNS

FEATURES: tuple[str, ...] = (*_SIGNS, *GROUPS)

_LEXICON = build_lexicon()
# Chinese and Japanese have no spaces: "用pandas读取" has one word, and its other characters are looked up as they are.
_WORD = re.compile(f"[^\\W_{UNSPACED}]+(?:\\+\\+|#)?")


@dataclass(frozen=True, slots=True)
class Features:
    """What one text shows. ``values`` has only what is there: 1 for once, 2 at most.

    ``found`` names it: the phrase of a sign, or the entries of a group.
    """

    values: Mapping[str, float]
    found: Mapping[str, tuple[str, ...]]

    @staticmethod
    def is_words(name: str) -> bool:
        return name in GROUPS


def read_features(text: str, most_chars: int = MOST_CHARS) -> Features:
    """``most_chars`` bounds what is read of ``text``, for a turn that counts less than others."""
    counts: dict[str, int] = {}
    found: dict[str, tuple[str, ...]] = {}
    excerpt = _excerpt(text, most_chars)
    for name, sign in _SIGNS.items():
        count = sign.occurrences(excerpt)
        if count:
            counts[name], found[name] = count, (sign.phrase,)
    for entry, group in dict.fromkeys(_entries(_excerpt(text, min(most_chars, _MOST_WORD_CHARS)), _LEXICON)):
        # What is repeated says no more than once.
        counts[group] = counts.get(group, 0) + 1
        found[group] = (*found.get(group, ()), entry)
    return Features({name: _SATURATION[min(count, 3)] for name, count in counts.items()}, found)


def _excerpt(text: str, most_chars: int) -> str:
    if len(text) <= most_chars:
        return text
    head = int(most_chars * _HEAD_SHARE)
    return f"{text[:head]}\n{text[head - most_chars :]}"


def _entries(text: str, lexicon: Lexicon) -> Iterator[tuple[str, str]]:
    """(entry, group) of every word, stem and phrase of the lexicon in ``text``, words and stems once."""
    tokens = _WORD.findall(text.lower())
    for token in dict.fromkeys(tokens):
        if token in lexicon.words:
            yield token, lexicon.words[token]
        elif len(token) >= lexicon.stem_lengths[0]:
            stem = next((token[:n] for n in lexicon.stem_lengths if token[:n] in lexicon.stems), None)
            if stem is not None:
                yield f"{stem}…", lexicon.stems[stem]
    for at, pair in enumerate(pairwise(tokens)):
        if pair in lexicon.phrases:
            for rest, group in lexicon.phrases[pair]:
                if tuple(tokens[at + 2 : at + 2 + len(rest)]) == rest:
                    yield " ".join((*pair, *rest)), group
                    break
    if is_unspaced(text):
        yield from ((entry, group) for entry, group in lexicon.unspaced.items() if entry in text)
