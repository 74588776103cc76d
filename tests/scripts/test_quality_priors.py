from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from registry.model import Task
from scripts.quality_priors.__main__ import TABLE
from scripts.quality_priors.fit import Spreads, best_spreads, fit, size_only_spreads
from scripts.quality_priors.quantisation import Pair, quantisation_table, read_pairs, wide_block_factor
from scripts.quality_priors.report import report
from scripts.quality_priors.scores import Score, read_scores
from scripts.quality_priors.table import as_text, build_table
from scripts.quality_priors.validation import hold_out
from selector.quality_table import TABLE_FILE

DOCS = TABLE.parents[1] / "docs" / "quality.md"
SPREADS = Spreads(family=0.5, model=0.2, benchmark=1.0, noise=0.2)


def make_scores(abilities: dict[tuple[str, str], float], benchmarks: int = 4) -> list[Score]:
    """Models of 1, 2, 4... billion parameters in each family, with shares that rise with size and ability."""
    return [
        Score(
            Task.MATH, family, f"{family}-{model}", "plain", 2.0**size, 2.0**size, (f"b{b}", "h"),
            0.2 + 0.05 * size + ability + 0.02 * b,
        )
        for size, ((family, model), ability) in enumerate(abilities.items())
        for b in range(benchmarks)
    ]  # fmt: skip


def numbers(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in (key, *numbers(value[key]))]
    return [leaf for item in value for leaf in numbers(item)] if isinstance(value, list) else [value]


def test_shipped_table_is_what_the_script_makes() -> None:
    made, shipped = numbers(build_table()), numbers(json.loads(TABLE.read_text(encoding="utf-8")))
    assert TABLE == TABLE_FILE
    assert len(made) == len(shipped)
    for ours, theirs in zip(made, shipped, strict=True):
        # The last digit depends on the linear algebra library.
        assert ours == (theirs if isinstance(theirs, str) else pytest.approx(theirs, abs=2e-3))


def test_table_has_one_line_for_each_entry() -> None:
    table = {"tasks": {"chat": {"at_1b": 1}, "code": {"at_1b": 2}}, "families": {"x": {}}}
    text = as_text(table)
    assert json.loads(text) == table
    assert '  "code": {"at_1b": 2}\n' in text


@pytest.mark.parametrize("task", [Task.CODE, Task.MATH])
def test_families_and_models_predict_better_than_size_alone(task: Task) -> None:
    scores = [score for score in read_scores() if score.task is task]
    for what in ("score", "model"):
        simple = hold_out(scores, size_only_spreads(scores), what)
        full = hold_out(scores, best_spreads(scores), what)
        assert simple is not None
        assert full is not None
        assert full.mean_points < 0.9 * simple.mean_points
        assert full.within_2 >= 0.9


def test_report_shows_every_fitted_task_and_what_was_held_out() -> None:
    lines = list(report([Task.TOOLS, Task.VISION, Task.TRANSCRIPTION]))
    rows = [line.split()[:2] for line in lines if line]
    assert {what for task, what in rows if task == "tools"} == {"score", "model", "family", "spreads"}
    assert {what for task, what in rows if task == "transcription"} == {"score", "model", "spreads"}
    assert not [line for line in lines if line.startswith("vision")]
    documented = DOCS.read_text(encoding="utf-8")
    for line in lines:
        if line.startswith("tools") and "spreads" not in line:
            task, what, simple, *_, full, _, _, _ = line.split()
            assert f"| {task} | {what} | {simple} |" in documented
            assert f"| {full} |" in documented
    assert any(line.startswith("int4 points lost") for line in lines)


def test_fit_finds_the_better_family_and_is_less_sure_of_a_model_with_fewer_scores() -> None:
    scores = make_scores({("good", "a"): 0.2, ("bad", "a"): 0.0, ("good", "b"): 0.2, ("bad", "b"): 0.0})
    rare = replace(scores[0], model="good-c")
    fitted = fit([*scores, rare], SPREADS)
    assert fitted.weight("family", "good") > fitted.weight("family", "bad") + 0.3
    often, once = (fitted.contrast_variance(fitted.vector(score)) for score in (scores[0], rare))
    assert often < once


def test_nothing_is_learned_about_a_family_that_is_alone() -> None:
    scores = make_scores({("only", "a"): 0.1, ("only", "b"): 0.1})
    assert hold_out(scores, SPREADS, "family") is None
    assert hold_out(scores, SPREADS, "model") is not None


def test_scores_keep_modes_apart_and_leave_out_what_is_no_task_here() -> None:
    scores = read_scores()
    assert len(scores) > 400
    assert {score.mode for score in scores if score.model == "Qwen3-4B"} == {"plain", "thinking"}
    assert {score.mode for score in scores if score.model == "gpt-oss-20b"} == {"thinking"}
    assert not [score for score in scores if score.benchmark[0].startswith(("AIME", "RULER", "MTEB", "Codeforces"))]
    assert all(0 <= score.share <= 1 for score in scores)


def test_wider_blocks_are_compared_on_one_model_and_benchmark() -> None:
    fine = Pair("m", 4.0, 4, 32, "rtn", False, "MMLU", 2.0)
    wide, other = replace(fine, block_size=64, loss=3.0), replace(fine, block_size=64, loss=9.0, model="n")
    assert wide_block_factor([fine, wide, other]) == 1.5


def test_calibrated_methods_do_not_make_plain_rounding_look_better() -> None:
    pairs = read_pairs()
    better = [replace(pair, loss=0.0) if pair.method == "gptq" and pair.bits == 4 else pair for pair in pairs]
    assert quantisation_table(better)["int4"]["at_1b"] == quantisation_table(pairs)["int4"]["at_1b"]
