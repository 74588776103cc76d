"""What a person sees of a selection, from made-up JSON of the contract's shape."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from daemon.cli.ledger import name_of, print_ledger, print_rejected


def candidate(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{name}:1",
        "thinking": None,
        "context_tokens": 8192,
        "utility": 10.0,
        "difference": 0.0,
        "terms": {"Q": 12.0, "latency": 0.0, "memory": 0.0},
        "need_bytes": 1_000_000_000,
        "tokens_per_second": 20.0,
        "ttft_s": 0.5,
        "answer_s": 12.0,
        "evidence": {"speed": "predicted from probed 20 GB/s"},
        **fields,
    }


def selection(*ranking: dict[str, Any], **fields: Any) -> dict[str, Any]:
    first = ranking[0] if ranking else {"id": None, "thinking": None}
    chosen = {"chosen": first["id"], "thinking": first["thinking"]}
    return {**chosen, "ranking": list(ranking), "rejected": [], "would_change": [], **fields}


def printed(capsys: pytest.CaptureFixture[str], told: dict[str, Any]) -> list[str]:
    print_ledger(told)
    return capsys.readouterr().out.splitlines()


def test_terms_that_are_nothing_for_everybody_have_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    slow = candidate("slow", terms={"Q": 20.0, "latency": -9.0, "memory": 0.0}, utility=11.0, difference=1.0)
    head, first, second, *_ = printed(capsys, selection(candidate("fast"), slow))
    assert ("Q" in head.split(), "LATENCY" in head, "MEMORY" in head) == (True, True, False)
    assert "+0.0" in first  # it has no points in what costs the other nine
    assert "-9.0" in second


def test_the_chosen_one_has_a_star_and_the_others_their_difference(capsys: pytest.CaptureFixture[str]) -> None:
    ahead = candidate("ahead", utility=11.5, difference=1.5)
    told = selection(ahead, candidate("loaded"), chosen="loaded:1", thinking=None)
    head, first, second, *_ = printed(capsys, told)
    assert "DIFFERENCE" in head
    assert (first.startswith("*"), "+1.5" in first) == (False, True)
    assert second.startswith("*  loaded:1")


def test_both_ways_of_one_model_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    ways = [candidate("qwen3", thinking=thinking, difference=-3.0 * thinking) for thinking in (False, True)]
    _head, first, second, *_ = printed(capsys, selection(*ways))
    assert first.startswith("*  qwen3:1 (not thinking)")
    assert second.strip().startswith("qwen3:1 (thinking)")


def test_one_candidate_alone_differs_from_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert "DIFFERENCE" not in printed(capsys, selection(candidate("only")))[0]


def test_columns_stand_above_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    head, first, *_ = printed(capsys, selection(candidate("a"), candidate("b", difference=-0.5)))
    for name, text in (("TOK/S", "20.0"), ("ANSWER", "12.0 s"), ("NEEDS", "1.0 GB"), ("CONTEXT", "8192")):
        assert head.index(name) + len(name) == first.index(text) + len(text), name


def test_evidence_rejections_and_changes_follow(capsys: pytest.CaptureFixture[str]) -> None:
    told = selection(
        candidate("a"),
        rejected=[{"id": "big:1", "code": "memory", "message": "needs 9.0 GB; 5.2 GB available", "thinking": True}],
        would_change=[{"what": "with 4.0 GB more free memory", "chosen": "big:1"}],
    )
    text = "\n".join(printed(capsys, told))
    parts = ("a:1 rests on", "predicted from probed", "big:1 (thinking)", "needs 9.0 GB", "What would change it:")
    places = [text.index(part) for part in (*parts, "with 4.0 GB more free memory: big:1")]
    assert all(one < other for one, other in itertools.pairwise(places))


def test_where_nothing_competes_only_the_rejections_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = selection(rejected=[{"id": "a:1", "code": "task", "message": "cannot do vision"}])
    lines = printed(capsys, told)
    assert lines[0].split() == ["REJECTED", "BECAUSE"]
    assert "cannot do vision" in lines[1]


def test_nothing_is_printed_where_nothing_was_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    print_rejected([], before="\n")
    assert capsys.readouterr().out == ""


def test_a_name_says_how_it_answers_where_there_are_two_ways() -> None:
    assert name_of({"id": "a:1"}) == "a:1"
    assert name_of({"id": "a:1", "thinking": True}) == "a:1 (thinking)"
