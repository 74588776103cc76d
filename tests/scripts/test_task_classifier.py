from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest

from registry.model import Task
from scripts.task_classifier.__main__ import WEIGHTS, as_text
from scripts.task_classifier.fit import build_table, fit, row_of
from scripts.task_classifier.prompts import Prompt, by_hand, held_out, read_templates, training
from scripts.task_classifier.report import accuracy, confusion, misses, report
from selector.classify import WEIGHTS_FILE
from selector.task_features import FEATURES, TASKS_BY_TEXT

DOCS = WEIGHTS.parents[1] / "docs" / "classifier.md"


def test_shipped_weights_are_what_the_script_makes() -> None:
    made, shipped = build_table(fit(list(training()))), json.loads(WEIGHTS.read_text(encoding="utf-8"))
    assert WEIGHTS == WEIGHTS_FILE
    assert made["tasks"] == shipped["tasks"]
    assert list(made["weights"]) == list(shipped["weights"]) == list(FEATURES)
    # The last digit depends on the linear algebra library.
    assert made["bias"] == pytest.approx(shipped["bias"], abs=0.02)
    for name, row in made["weights"].items():
        assert row == pytest.approx(shipped["weights"][name], abs=0.02), name


def test_the_same_seed_makes_the_same_prompts() -> None:
    assert list(training()) == list(training())
    assert list(held_out()) == list(held_out())


def test_nothing_that_is_held_out_is_trained_on() -> None:
    templates = {name: {text for _, text in read_templates(name)} for name in ("train", "heldout", "by_hand")}
    assert not templates["train"] & (templates["heldout"] | templates["by_hand"])
    assert not templates["heldout"] & templates["by_hand"]
    trained = {prompt.text.lower() for prompt in training()}
    assert not trained & {prompt.text.lower() for prompt in by_hand()}


@pytest.mark.parametrize(("name", "least"), [("train", 60), ("heldout", 20), ("by_hand", 50)])
def test_every_task_has_its_share_of_each_set(name: str, least: int) -> None:
    counts = Counter(task for task, _ in read_templates(name))
    assert set(counts) == set(TASKS_BY_TEXT)
    assert min(counts.values()) >= least


def test_every_slot_is_filled_and_noise_keeps_prompts_readable() -> None:
    prompts = list(training())
    assert not [prompt.text for prompt in prompts if re.search(r"\{(?:lang|code|name2?|topic|fence)\}", prompt.text)]
    assert all(prompt.text.strip() for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) > 0.8 * len(prompts)


def test_fit_learns_what_tells_tasks_apart() -> None:
    texts = {Task.CODE: "a python function", Task.MATH: "solve 3 * 4", Task.REASONING: "a riddle", Task.CHAT: "a poem"}
    prompts = [Prompt(task, text) for task, text in texts.items() for _ in range(5)]
    weights = fit(prompts)
    scores = np.array([row_of(prompt.text) for prompt in prompts]) @ weights
    assert [TASKS_BY_TEXT[best] for best in scores.argmax(axis=1)] == [prompt.task for prompt in prompts]
    assert weights[FEATURES.index("code_sure"), TASKS_BY_TEXT.index(Task.CODE)] > 0.5


def test_a_stronger_penalty_makes_smaller_weights() -> None:
    prompts = list(training())[::20]
    assert np.abs(fit(prompts, 0.1)[:-1]).sum() < np.abs(fit(prompts, 0.01)[:-1]).sum()


def test_classifier_is_right_about_templates_and_prompts_it_has_not_seen() -> None:
    # Chance is a quarter. The numbers of docs/classifier.md less about three points.
    assert accuracy(confusion(held_out())) > 0.87
    assert accuracy(confusion(by_hand())) > 0.77


def test_what_is_missed_is_mostly_taken_for_chat() -> None:
    counts = confusion(by_hand())
    wrong = {pair: count for pair, count in counts.items() if pair[0] is not pair[1]}
    assert sum(n for (_, found), n in wrong.items() if found is Task.CHAT) > sum(wrong.values()) / 2
    assert sum(wrong.values()) == len(list(misses(by_hand())))


def test_documented_confusions_are_what_the_report_prints() -> None:
    documented = DOCS.read_text(encoding="utf-8")
    lines = [line for line in report() if line]
    assert len(lines) == 18
    for line in lines[6:]:
        assert line in documented


def test_table_has_one_line_for_each_feature() -> None:
    table = {"tasks": ["chat"], "bias": [0.0], "weights": {"x": [1.0], "y": [2.0]}}
    text = as_text(table)
    assert json.loads(text) == table
    assert '  "x": [1.0],\n' in text
