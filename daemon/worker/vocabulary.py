"""The bytes of single tokens, from the model's ``tokenizer.json``.

Decoding a token does not tell them: a token may be a part of a character, and decoders add and remove spaces. Read only
when somebody asks for log probabilities, since it takes a third of a second for 150,000 tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

# How sentencepiece writes a space, and a byte that is in no other piece.
_SPACE = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """The tokens of a model folder. ``decode`` is asked for those that its ``tokenizer.json`` does not tell."""

    def __init__(self, folder: Path, decode: Callable[[int], str]) -> None:
        self._folder = folder
        self._decode = decode

    def bytes_of(self, token: int) -> bytes:
        known = self._bytes.get(token)
        return self._decode(token).encode("utf-8", "replace") if known is None else known

    @cached_property
    def _bytes(self) -> Mapping[int, bytes]:
        try:
            document = json.loads((self._folder / "tokenizer.json").read_text(encoding="utf-8-sig"))
            return dict(_tokens(document))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}  # another kind of tokenizer, or a form of the file that is not known


def _tokens(document: Mapping[str, Any]) -> Iterator[tuple[int, bytes]]:
    to_bytes = _byte_level if "ByteLevel" in _kinds(document, "decoder", "pre_tokenizer") else _sentencepiece
    for piece, token in _pieces(document["model"]["vocab"]):
        yield token, to_bytes(piece)
    for added in document.get("added_tokens") or ():
        yield int(added["id"]), str(added["content"]).encode("utf-8", "replace")


def _pieces(vocab: Any) -> Iterator[tuple[str, int]]:
    """Pieces and ids: BPE has a mapping, Unigram a list of (piece, score)."""
    if isinstance(vocab, dict):
        yield from vocab.items()
    else:
        yield from ((piece, token) for token, (piece, _) in enumerate(vocab))


def _kinds(document: Mapping[str, Any], *names: str) -> set[str]:
    """The types of the steps that stand under ``names``, single ones or sequences."""
    kinds: set[str] = set()
    for name in names:
        step = document.get(name) or {}
        steps = step.get("decoders") or step.get("pretokenizers") or [step]
        kinds |= {each.get("type", "") for each in steps}
    return kinds


def _byte_level(piece: str) -> bytes:
    try:
        return bytes(map(_BYTE_OF.__getitem__, piece))
    except KeyError:
        return piece.encode("utf-8", "replace")


def _sentencepiece(piece: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE, " ").encode("utf-8", "replace")


def _byte_characters() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes as, since GPT-2: themselves where they can be seen."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_characters()
