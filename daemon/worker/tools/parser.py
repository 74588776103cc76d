"""Takes an answer's text apart: what is shown, and the tool calls in it.

Invariant: splitting a text into other pieces changes neither, and what is no call stays in the text. Marks that are
special tokens are never shown, whether or not they belong to a call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from daemon.pool.protocol import ToolCallDelta
from daemon.worker.tools.calls import Calls
from daemon.worker.tools.feed import Feed, Reading
from daemon.worker.tools.forms import HERMES, Form
from daemon.worker.tools.json_reading import read_json_call

# Small models close one bracket too many.
_STRAY = " \t\r\n}]"
_BARE_SEPARATOR = ";"


class ToolCallParser:
    """``schemas`` are the parameters of the offered tools by name, ``special`` the marks that are special tokens.

    With ``most`` calls there is nothing more to come: ``is_full``. White space is held back until something visible
    follows it, because next to a call it is dropped.
    """

    def __init__(
        self,
        forms: Sequence[Form] = (HERMES,),
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        special: Collection[str] = (),
        most: int | None = None,
    ) -> None:
        self._forms = {form.opener: form for form in forms}
        self._is_bare = any(form.is_bare for form in forms)
        self._special = frozenset(special)
        marks = sorted({*self._forms, *self._special}, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, marks)))
        self._longest = len(marks[0])
        self._beginnings = frozenset(mark[:size] for mark in marks for size in range(1, len(mark)))
        self._calls = Calls(schemas or {}, most=most)
        self._feed = Feed()
        self._shown: list[str] = []
        self._space = ""
        self._is_after_call = False
        self._reading = self._read()

    @property
    def has_calls(self) -> bool:
        return self._calls.has_any

    @property
    def is_full(self) -> bool:
        return self._calls.is_full

    def feed(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """The text that can be shown now, and the pieces of calls that are known now."""
        self._feed.add(text)
        next(self._reading, None)
        shown = "".join(self._shown)
        self._shown.clear()
        return shown, self._calls.take()

    def flush(self) -> tuple[str, list[ToolCallDelta]]:
        """What is left at the end of the answer."""
        self._feed.end()
        return self.feed("")

    def _read(self) -> Reading[None]:
        if self._is_bare:
            yield from self._read_bare_calls()
        while not self._calls.is_full:
            mark = yield from self._show_up_to_mark()
            if not mark:
                return
            form = self._forms.get(mark)
            if form is not None and (yield from self._is_call(form)):
                self._space, self._is_after_call = "", True
            elif mark not in self._special:
                self._show(mark)

    def _is_call(self, form: Form) -> Reading[bool]:
        begin = self._feed.position
        for reader in form.readers:
            if (yield from reader(self._feed, self._calls)):
                if not self._calls.is_full:
                    yield from self._feed.skip(_STRAY)
                    yield from self._feed.take(form.closer)
                return True
            self._feed.position = begin
        return False

    def _read_bare_calls(self) -> Reading[None]:
        """Calls that are the whole answer. Only those of offered tools, because an answer may well be JSON."""
        while not self._calls.is_full:
            begin = self._feed.position
            yield from self._feed.skip()
            if not (yield from read_json_call(self._feed, self._calls, names=self._calls.names)):
                self._feed.position = begin
                return
            self._is_after_call = True
            yield from self._feed.skip()
            if not (yield from self._feed.take(_BARE_SEPARATOR)):
                return

    def _show_up_to_mark(self) -> Reading[str]:
        """Show what can be shown; the mark that ends it, which is read, or nothing at the end of the answer."""
        while True:
            self._feed.forget()
            text = self._feed.rest
            found = self._marks.search(text)
            if found and (self._feed.is_ended or text[found.start() :] not in self._beginnings):
                self._show(text[: found.start()])
                self._feed.position = found.end()
                return found[0]
            safe = len(text) if self._feed.is_ended else self._begin_of_mark(text)
            self._show(text[:safe])
            self._feed.position = safe
            if self._feed.is_ended:
                self._shown.append(self._space)
                self._space = ""
                return ""
            yield

    def _begin_of_mark(self, text: str) -> int:
        """Where the end of ``text`` begins that may become a mark, or a longer one than it is."""
        starts = range(max(0, len(text) - self._longest), len(text))
        return next((start for start in starts if text[start:] in self._beginnings), len(text))

    def _show(self, text: str) -> None:
        if self._is_after_call:
            text = text.lstrip()
            self._is_after_call = not text
        visible = text.rstrip()
        if visible:
            self._shown.append(self._space + visible)
            self._space = ""
        self._space += text[len(visible) :]
