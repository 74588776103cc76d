"""Asks the exported model questions it was not trained on, and counts the answers that are right word for word."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime_genai as og

from scripts.demo_model.dialogues import Dialogue, held_out_dialogues
from scripts.demo_model.template import render
from scripts.demo_model.tools import call_text

LONGEST_ANSWER_TOKENS = 1200


class DemoModel:
    """The exported folder in onnxruntime-genai itself, without the daemon around it."""

    def __init__(self, folder: Path) -> None:
        self._model = og.Model(str(folder))
        self._tokenizer = og.Tokenizer(self._model)
        self._eos_ids = set(self._tokenizer.eos_token_ids)

    def answer(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> tuple[str, bool]:
        """The greedy answer, and whether the model ended it by itself."""
        prompt = self._tokenizer.encode(render(messages, tools or (), add_generation_prompt=True))
        parameters = og.GeneratorParams(self._model)
        parameters.set_search_options(do_sample=False, max_length=len(prompt) + LONGEST_ANSWER_TOKENS)
        generator = og.Generator(self._model, parameters)
        generator.append_tokens(prompt)
        while not generator.is_done():
            generator.generate_next_token()
        # The library leaves the end token out of the sequence.
        stopped = int(generator.get_next_tokens()[0]) in self._eos_ids
        return self._tokenizer.decode(generator.get_sequence(0)[len(prompt) :]), stopped


def expected_answer(dialogue: Dialogue) -> str:
    last = dialogue.messages[-1]
    if "tool_calls" not in last:
        return str(last["content"])
    return "\n".join(call_text(call["function"]["name"], call["function"]["arguments"]) for call in last["tool_calls"])


def evaluate(folder: Path, *, seed: int, per_kind: int) -> None:
    """Prints the share of right answers for each kind of question, and some that went wrong."""
    model = DemoModel(folder)
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for dialogue in held_out_dialogues(seed, per_kind):
        answer, stopped = model.answer(list(dialogue.messages[:-1]), list(dialogue.tools))
        asked[dialogue.kind] += 1
        if stopped and answer == expected_answer(dialogue):
            right[dialogue.kind] += 1
        elif asked[dialogue.kind] - right[dialogue.kind] <= 5:
            question = json.dumps(dialogue.messages[-2]["content"])
            print(f"{dialogue.kind}: {question}\n  said     {answer!r}\n  expected {expected_answer(dialogue)!r}")
    for kind, count in asked.items():
        print(f"{kind:<11}{right[kind] / count:6.1%}  ({right[kind]} of {count} held-out questions)")
