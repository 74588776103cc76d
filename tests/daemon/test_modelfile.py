"""Modelfiles, in and out."""

from __future__ import annotations

import pytest

from daemon.modelfile import Draft, read_modelfile, write_modelfile
from registry.errors import InvalidRequest
from registry.model import Preset

WHOLE = '''
# A comment
FROM phi-4-mini
parameter temperature 0.3
PARAMETER\tnum_ctx   4096
PARAMETER stop "<|end|>"
PARAMETER stop b c
PARAMETER penalize_newline true
SYSTEM """
You are "Mario".

It's-a you.
"""
MESSAGE user Who are you?
MESSAGE assistant """It's-a
me."""
'''


def test_everything_that_a_preset_can_have_is_read() -> None:
    assert read_modelfile(WHOLE) == Draft(
        base="phi-4-mini",
        system='You are "Mario".\n\nIt\'s-a you.',
        parameters={"temperature": 0.3, "num_ctx": 4096, "stop": ["<|end|>", "b c"], "penalize_newline": True},
        messages=[
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "It's-a\nme."},
        ],
    )


@pytest.mark.parametrize(
    "text", ["SYSTEM You are.", 'SYSTEM "You are."', 'SYSTEM """You are."""', 'system\t"You are."']
)
def test_texts_may_stand_in_quotes_or_not(text: str) -> None:
    assert read_modelfile(f"FROM m\n{text}").system == "You are."


def test_what_is_written_is_read_as_the_same() -> None:
    draft = read_modelfile(WHOLE)
    preset = Preset(
        name="mario",
        base=draft.base,
        system=draft.system,
        parameters=draft.parameters,
        messages=tuple(draft.messages),
    )
    assert read_modelfile(write_modelfile(preset)) == draft


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no FROM line"),
        ("SYSTEM x", "no FROM line"),
        ("FROM", "no FROM line"),
        ("FROM m\nTEMPLATE x", "Line 2 of the Modelfile: TEMPLATE cannot be used: a model's chat template"),
        ("FROM m\nADAPTER ./lora", "Line 2 .* model@adapter"),
        ("FROM m\nLICENSE MIT", "LICENSE cannot be used"),
        ("FROM m\nCOPY x", "'COPY'"),
        ("FROM ./model.gguf", "no path"),
        ("FROM /models/phi", "no path"),
        ("FROM phi.gguf", "no path"),
        ("FROM m\nPARAMETER temperature", "a name and a value"),
        ("FROM m\nMESSAGE king hello", "takes a role"),
        ("FROM m\nMESSAGE user", "takes a role"),
        ('FROM m\nSYSTEM """x\ny', "Line 2 .* not closed"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_modelfile(text)
