from __future__ import annotations

import pytest

from registry.reading.family_template import added_tokens, family_template, source_of

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@pytest.mark.parametrize(
    ("tokens", "family"),
    [
        (CHATML, "chatml"),
        ((*CHATML, "<|im_sep|>"), "phi-4"),
        (("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "llama-3"),
        (("<|user|>", "<|assistant|>", "<|end|>", "<|system|>"), "phi-3"),
        (("<start_of_turn>", "<end_of_turn>"), "gemma"),
        (("<|start_of_role|>", "<|end_of_role|>"), "granite"),
        (("[INST]", "[/INST]"), "mistral"),
        (("<｜User｜>", "<｜Assistant｜>"), "deepseek"),
        (("<|im_start|>", "<s>"), None),
        (("<|user|>", "<|assistant|>"), None),
        ((), None),
    ],
)
def test_only_the_tokens_of_a_format_prove_it(tokens: tuple[str, ...], family: str | None) -> None:
    assert family_template(tokens) == family


def test_a_default_is_named_as_such() -> None:
    assert source_of("chatml") == "family default: chatml"


def test_added_tokens_stand_in_either_file_and_odd_entries_are_passed_over() -> None:
    config = {"added_tokens_decoder": {"1": {"content": "<a>"}, "2": 3, "4": {"content": 5}}}
    tokenizer = {"added_tokens": [{"id": 6, "content": "<b>"}, None, {}]}
    assert added_tokens(config, tokenizer) == {"<a>", "<b>"}
    assert added_tokens({"added_tokens_decoder": []}, {"added_tokens": {}}) == frozenset()
