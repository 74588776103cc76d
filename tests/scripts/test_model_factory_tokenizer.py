"""The factory's tokenizer, read by the engine and by Hugging Face's library."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime_genai as og
import pytest
from tokenizers import Tokenizer

from scripts.model_factory import byte_level_tokenizer, write_preset

TEXTS = [
    "Hello, world!",
    "  two  spaces\n\n\ttabs and\r\nlines  ",
    "naïve café, ÄÖÜ ß",
    "日本語 русский עברית 🙂👩‍👩‍👧",
    "12345 + 67.89 = 12412.89",
    'def f(x):\n    return {"a": [x, -1]}\n',
    "I'm, you'll, it's",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|> not <|im_ends|>",
    " Babanapa Cacado Baba",
    "\x01\x1f\x7f",  # not NUL: the engine ends a text there
]
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset("tiny", tmp_path_factory.mktemp("model"), vocab_size=8192)


@pytest.fixture(scope="module")
def engine(folder: Path) -> og.Tokenizer:
    return og.Tokenizer(og.Config(str(folder)))


@pytest.fixture(scope="module")
def hugging_face(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_engine_and_hugging_face_agree_and_text_comes_back(
    engine: og.Tokenizer, hugging_face: Tokenizer, text: str
) -> None:
    ids = [int(token) for token in engine.encode(text)]

    assert ids == hugging_face.encode(text).ids
    assert hugging_face.decode(ids, skip_special_tokens=False) == text


def test_bytes_are_their_own_ids_and_specials_follow(hugging_face: Tokenizer) -> None:
    assert hugging_face.encode("~\n é").ids == [0x7E, 0x0A, 0x20, 0xC3, 0xA9]
    assert hugging_face.encode("<|endoftext|><|im_start|><|im_end|>").ids == [256, 257, 258]


def test_every_id_has_a_token(hugging_face: Tokenizer) -> None:
    assert hugging_face.get_vocab_size() == 8192
    assert all(hugging_face.id_to_token(token) for token in range(8192))


def test_generated_words_encode_to_the_same_tokens(hugging_face: Tokenizer) -> None:
    words = list(range(8000, 8190))

    assert hugging_face.encode(hugging_face.decode(words)).ids == words


def test_streamed_pieces_join_to_the_text(engine: og.Tokenizer) -> None:
    text = "naïve 日本語 🙂 done"
    stream = engine.create_stream()

    assert "".join(stream.decode(int(token)) for token in engine.encode(text)) == text


def test_engine_renders_the_chat_template_with_and_without_tools(engine: og.Tokenizer) -> None:
    plain = engine.apply_chat_template(json.dumps(MESSAGES), add_generation_prompt=True)
    offered = engine.apply_chat_template(json.dumps(MESSAGES), tools=json.dumps(TOOLS), add_generation_prompt=True)

    turn = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert plain == f"<|im_start|>system\nBe brief.<|im_end|>\n{turn}"
    assert offered.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert '"name": "now"' in offered.split("<tools>")[1].split("</tools>")[0]
    assert offered.endswith(f"</tool_call><|im_end|>\n{turn}")


def test_vocabularies_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 259"):
        byte_level_tokenizer(258, 2048)
    with pytest.raises(ValueError, match="at most"):
        byte_level_tokenizer(400_000, 2048)
