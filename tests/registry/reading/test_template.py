"""What a chat template's text gives evidence for, also one that was made to be slow."""

from __future__ import annotations

import pytest

from registry.errors import InvalidModelFolder
from registry.reading.template import MAX_TEMPLATE_CHARACTERS, template_of


@pytest.mark.parametrize(
    ("text", "handles_tools"),
    [
        ("{% if tools %}x{% endif %}", True),
        ("{%- for tool in tools -%}", True),
        ("{{ tools | tojson }}", True),
        ("{{ messages }} the tools of the trade", False),
        ("{{ message['x'] }} {# tools #} {% if x %} tools {% endif %}", False),
        ("{% if toolset %}", False),
        ("tools {{", False),
        ("{{ " + "x" * 500 + " tools }}", False),
    ],
)
def test_tools_count_where_the_variable_is_used(text: str, handles_tools: bool) -> None:
    template = template_of(text)
    assert template is not None
    assert template.handles_tools is handles_tools


def test_a_template_of_nothing_but_beginnings_is_read_once() -> None:
    """What looks for the end of each beginning takes minutes for this, and holds up every other thread."""
    template = template_of("{{" * (MAX_TEMPLATE_CHARACTERS // 2))
    assert template is not None
    assert not template.handles_tools


def test_a_template_that_no_model_needs_is_refused() -> None:
    with pytest.raises(InvalidModelFolder, match="262145 characters"):
        template_of("x" * (MAX_TEMPLATE_CHARACTERS + 1))
