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
        ("{# {% if tools %} #}{{ messages }}", False),
        ("{% if toolset %}", False),
        ("tools {{", False),
        ("{{ " + "x" * 500 + " tools }}", False),
    ],
)
def test_tools_count_where_the_variable_is_used(text: str, handles_tools: bool) -> None:
    template = template_of(text)
    assert template is not None
    assert template.handles_tools is handles_tools


@pytest.mark.parametrize(
    ("text", "has_switch"),
    [
        ("{%- if enable_thinking is defined and enable_thinking is false %}x{%- endif %}", True),
        ("{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}", True),
        ("{% set enable_thinking = enable_thinking | default(true) %}", True),
        ("{{ '' if enable_thinking else '<think></think>' }}", True),
        ("{%-if(thinking)-%}x{%- endif %}", True),
        ("{% if not thinking is defined %}{% set thinking = false %}{% endif %}", True),
        ("{% for message in messages if not thinking %}", True),
        ("{{ thinking }}", False),
        ("{{ messages }} enable_thinking: if thinking is on", False),
        ("{% if message.thinking is defined %}{% if 'thinking' in message %}{{ message[\"thinking\"] }}", False),
        ("{# {% if enable_thinking %} #}{{ messages }}", False),
        ("{% set enable_thinking = true %}{% if enable_thinking %}", False),
        ("{% set thinking %}x{% endset %}{% if thinking %}", False),
        ("{% set state = namespace(thinking=false) %}{% if state.thinking %}", False),
        ("{% macro shown(message, thinking) %}{% if thinking %}{% endmacro %}", False),
        ("{% for thinking in thoughts %}{% if thinking %}", False),
        ("{% if thinking_budget is defined %}{% if not_enable_thinking %}", False),
        ("{% '' %}{{ }}{% if 'thinking", False),
    ],
)
def test_a_switch_is_a_variable_that_is_tested_before_the_template_sets_it(text: str, has_switch: bool) -> None:
    template = template_of(text)
    assert template is not None
    assert template.has_thinking_switch is has_switch
    assert template.handles_reasoning or not has_switch


@pytest.mark.parametrize("piece", ["{{", "{#", "{# #}", "{%if 'thinking", "{{thinking", "{%set thinking", "{{'"])
def test_a_template_of_nothing_but_beginnings_is_read_once(piece: str) -> None:
    """What looks for the end of each beginning takes minutes for this, and holds up every other thread."""
    template = template_of(piece * (MAX_TEMPLATE_CHARACTERS // len(piece)))
    assert template is not None
    assert not template.handles_tools
    assert not template.has_thinking_switch


def test_a_template_that_no_model_needs_is_refused() -> None:
    with pytest.raises(InvalidModelFolder, match="262145 characters"):
        template_of("x" * (MAX_TEMPLATE_CHARACTERS + 1))
