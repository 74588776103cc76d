"""Tokenizer files: given ones, or a byte-level vocabulary with ChatML's special tokens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_BYTES = 256
_FIRST_WORD_ID = _BYTES + len(SPECIAL_TOKENS)

CHAT_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] + '\\n\\n' }}
    {%- endif %}
    {{- '# Tools\\n\\nThese functions may be called:\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool | tojson) }}
    {%- endfor %}
    {{- '\\n</tools>\\n\\nCall one by writing its name and arguments as JSON inside <tool_call></tool_call> tags:\\n' }}
    {{- '<tool_call>\\n{"name": <name>, "arguments": <arguments>}\\n</tool_call><|im_end|>\\n' }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' }}
    {%- elif message['role'] != 'system' or not loop.first %}
        {{- '<|im_start|>' + message['role'] + '\\n' }}
        {%- if message['content'] %}
            {{- message['content'] }}
        {%- endif %}
        {%- for call in message['tool_calls'] or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call['function']['name'] + '", "arguments": ' }}
            {%- if call['function']['arguments'] is string %}
                {{- call['function']['arguments'] }}
            {%- else %}
                {{- call['function']['arguments'] | tojson }}
            {%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


@dataclass(frozen=True)
class TokenizerFiles:
    """What a folder needs to turn text into tokens and messages into a prompt."""

    tokenizer_json: str
    tokenizer_config: Mapping[str, Any]
    chat_template: str
    eos_token_ids: tuple[int, ...]
    bos_token_id: int
    pad_token_id: int


def byte_level_tokenizer(vocab_size: int, context_tokens: int) -> TokenizerFiles:
    """Ids 0-255 are the bytes, then three special tokens, then made-up words that fill the vocabulary.

    The words are reachable by merges, so that generated text encodes to the same tokens again (prefix reuse needs
    that). Raises ValueError when the vocabulary has no room for bytes and special tokens.
    """
    if vocab_size < _FIRST_WORD_ID:
        raise ValueError(f"A byte-level vocabulary needs at least {_FIRST_WORD_ID} entries, not {vocab_size}")
    merges = list(itertools.islice(_word_merges(), vocab_size - _FIRST_WORD_ID))
    if (most := _FIRST_WORD_ID + len(merges)) < vocab_size:
        raise ValueError(f"A byte-level vocabulary has at most {most} entries, not {vocab_size}")
    # Special tokens stand here too: Hugging Face's library numbers them anew, after the words, when they do not.
    vocabulary = {token: token_id for token_id, token in enumerate([*_byte_characters(), *SPECIAL_TOKENS])}
    vocabulary |= {left + right: _FIRST_WORD_ID + index for index, (left, right) in enumerate(merges)}
    return TokenizerFiles(
        tokenizer_json=json.dumps(_tokenizer_json(vocabulary, merges), ensure_ascii=False),
        tokenizer_config={
            "add_prefix_space": False,
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "model_max_length": context_tokens,
            "pad_token": "<|endoftext|>",
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        chat_template=CHAT_TEMPLATE,
        eos_token_ids=(_special_id("<|im_end|>"), _special_id("<|endoftext|>")),
        bos_token_id=_special_id("<|endoftext|>"),
        pad_token_id=_special_id("<|endoftext|>"),
    )


def unprintable_ids() -> frozenset[int]:
    """Ids of the byte-level vocabulary that alone are no printable ASCII: half characters and control codes."""
    return frozenset(range(_FIRST_WORD_ID)) - frozenset(range(0x20, 0x7F))


def _special_id(token: str) -> int:
    return _BYTES + SPECIAL_TOKENS.index(token)


def _byte_characters() -> list[str]:
    """The visible character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = itertools.count(0x100)
    return [chr(byte) if byte in visible else chr(next(stand_ins)) for byte in range(_BYTES)]


def _word_merges() -> Iterator[tuple[str, str]]:
    """Pairs whose joins are the words, parts before wholes.

    First, second and third syllables share no letter case or consonant, so each word has one way to be put together.
    """
    space = _byte_characters()[0x20]
    spelled = ("BCDFGHJKLMNPQRSTVWXYZ", "bcdfghjklm", "npqrstvwxyz")
    firsts, seconds, thirds = (list(itertools.product(consonants, "aeiou")) for consonants in spelled)
    yield from itertools.chain(firsts, seconds, thirds)
    words = [(space, "".join(syllable)) for syllable in firsts]
    yield from words
    for endings in (seconds, thirds):
        words = [("".join(word), "".join(syllable)) for word in words for syllable in endings]
        yield from words


def _tokenizer_json(vocabulary: Mapping[str, int], merges: list[tuple[str, str]]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": _special_id(token), "content": token, **flags} for token in SPECIAL_TOKENS],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }
