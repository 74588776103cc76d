"""Texts to token ids, by the folder's ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from daemon.worker.errors import LoadCode, LoadError
from registry.errors import InvalidRequest

# Those of models for a hundred languages have 17 MB.
_MAX_FILE_BYTES = 128 * 1024 * 1024


class TextTokenizer:
    """Puts each text between the special tokens that the model was trained with, and never cuts or pads it."""

    def __init__(self, file: Path) -> None:
        """Raises LoadError."""
        self._tokenizer = _read(file)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._vocabulary = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self._before, self._after = self._around()

    def ids(self, text: str | Sequence[int]) -> list[int]:
        """Of a text, or of tokens without the special ones. Raises InvalidRequest."""
        if isinstance(text, str):
            # A lone surrogate is no UTF-8, which the library refuses.
            whole: list[int] = self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids
            return whole
        wrong = next((token for token in text if not 0 <= token < self._vocabulary), None)
        if wrong is not None:
            raise InvalidRequest(
                f"The token {wrong} is not in this model's vocabulary of {self._vocabulary}. Tokens must be made with "
                "its own tokenizer: better send the text.",
                param="input",
            )
        return [*self._before, *text, *self._after]

    def truncated(self, ids: list[int], most: int) -> list[int]:
        """The first of these ``ids`` of a text, at most so many, with the special tokens that end every text."""
        if len(ids) <= most:
            return ids
        end = self._after[-most:]
        return [*ids[: most - len(end)], *end]

    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens that stand before and after every text."""
        whole: list[int] = self._tokenizer.encode("a").ids
        bare: list[int] = self._tokenizer.encode("a", add_special_tokens=False).ids
        extra = len(whole) - len(bare)
        begin = next((start for start in range(extra + 1) if whole[start : start + len(bare)] == bare), 0)
        return whole[:begin], whole[begin + len(bare) :]


def _read(file: Path) -> Tokenizer:
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise LoadError(LoadCode.INVALID_FILE, f"{file} is over {_MAX_FILE_BYTES} bytes: not a file of this kind.")
        return Tokenizer.from_buffer(file.read_bytes())
    except OSError as error:
        raise LoadError(LoadCode.MISSING_FILE, f"{file} cannot be read: {error.strerror}. Copy it again.") from error
    except LoadError:
        raise
    except Exception as error:  # the library raises plain Exceptions
        raise LoadError(LoadCode.INVALID_FILE, f"{file} is no tokenizer: {error!s:.200}. Copy it again.") from error
