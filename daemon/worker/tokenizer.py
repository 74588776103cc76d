"""The model's tokenizer, as prompts and answers need it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnxruntime_genai as og

# Characters that the library's C strings cannot carry: NUL ends them, and a lone surrogate is no UTF-8.
_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


def encodable(text: str) -> str:
    """``text`` as the library's C strings can carry it."""
    return _UNENCODABLE.sub("\ufffd", text)


class GenaiTokenizer:
    """onnxruntime-genai's tokenizer, without special tokens of its own accord: the chat template writes them."""

    def __init__(self, model: og.Model | og.Config, end_token: str | None = None) -> None:
        """Of a loaded model, or of a folder whose model is loaded elsewhere.

        ``end_token`` is the text of the end-of-sequence token that ``tokenizer_config.json`` names.
        """
        self._tokenizer = og.Tokenizer(model)
        self._tokenizer.update_options(add_special_tokens="false", skip_special_tokens="true")
        self._anchor = self.encode("a")
        self.begin_ids = self._find_begin_ids()
        self._silent: dict[int, bool] = {}
        self.end_ids = self._find_end_ids(end_token)

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``; special tokens written out in it become their ids."""
        ids: list[int] = self._tokenizer.encode(encodable(text)).tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(np.asarray(ids, dtype=np.int32))
        return text

    def text_of(self, token: int) -> str:
        """What ``token`` adds to a text that stands before it."""
        return self.decode([*self._anchor, token])[len(self.decode(self._anchor)) :]

    def is_silent(self, token: int) -> bool:
        """True if ``token`` adds nothing to a text that stands before it.

        Asked this way because the library decodes a special token that stands alone as U+FFFD, like a broken byte.
        """
        known = self._silent.get(token)
        if known is None:
            known = self.decode([*self._anchor, token]) == self.decode(self._anchor)
            self._silent[token] = known
        return known

    def single_ids(self, text: str | None) -> frozenset[int]:
        """The token that ``text`` is, if it is one."""
        ids = self.encode(text) if text else []
        return frozenset(ids) if len(ids) == 1 else frozenset()

    def _find_begin_ids(self) -> list[int]:
        """What the tokenizer's configuration has it put before every text that no template wrote."""
        self._tokenizer.update_options(add_special_tokens="true")
        with_special = self.encode("a")
        self._tokenizer.update_options(add_special_tokens="false")
        starts = range(len(with_special) - len(self._anchor) + 1)
        begin = next((at for at in starts if with_special[at : at + len(self._anchor)] == self._anchor), 0)
        return with_special[:begin]

    def _find_end_ids(self, end_token: str | None) -> frozenset[int]:
        """The tokens that end an answer: the engine's (from ``genai_config.json``) and the tokenizer's own."""
        ids = {int(token) for token in self._tokenizer.eos_token_ids}
        if end_token is not None:
            ids.add(int(self._tokenizer.to_token_id(end_token)))
        return frozenset(token for token in ids if token >= 0)  # -1: the vocabulary has no such token
