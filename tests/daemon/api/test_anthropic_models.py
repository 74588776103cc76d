"""Pages of models as Anthropic's clients turn them."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api.anthropic_models import Page, model_info
from registry.errors import InvalidRequest

MODELS = [model_info(name) for name in "abcde"]


def page(limit: int, **at: Any) -> tuple[str, bool]:
    """The names on it, and whether there are more."""
    told = Page(limit, **at).of(MODELS)
    names = "".join(model["id"] for model in told["data"])
    assert (told["first_id"], told["last_id"]) == ((names[0], names[-1]) if names else (None, None))
    return names, told["has_more"]


def test_pages_follow_each_other_in_both_directions() -> None:
    assert page(9) == ("abcde", False)
    assert page(2) == ("ab", True)
    assert page(2, after_id="b") == ("cd", True)
    assert page(2, after_id="d") == ("e", False)
    assert page(2, after_id="e") == ("", False)
    assert page(2, before_id="e") == ("cd", True)
    assert page(2, before_id="c") == ("ab", False)
    assert page(2, before_id="a") == ("", False)
    assert page(9, after_id="a", before_id="d") == ("bc", True)


@pytest.mark.parametrize("param", ["after_id", "before_id"])
def test_a_page_beside_no_model_is_refused(param: str) -> None:
    with pytest.raises(InvalidRequest, match="no model 'x'") as caught:
        page(2, **{param: "x"})
    assert caught.value.param == param


def test_a_model_says_how_much_it_takes_where_that_is_known() -> None:
    told = model_info("phi:1@tone", "phi", 4096)
    assert (told["type"], told["id"], told["display_name"]) == ("model", "phi:1@tone", "phi")
    assert (told["max_input_tokens"], told["max_tokens"]) == (4096, 4096)
    of_a_preset = model_info("mario")
    assert (of_a_preset["display_name"], of_a_preset["max_tokens"]) == ("mario", None)
