"""Presets: what may be one, and what one changes about a request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import presets as presets_module
from daemon.options import TO_THE_END
from daemon.pool.protocol import Generate, Sampling
from daemon.presets import MOST_MESSAGES, Presets, options_of, with_preset, without_latest
from registry.errors import InvalidRequest, ModelNotFound, PresetNotFound, UnknownTask, UnsupportedParameter
from registry.model import Preset
from registry.store import Registry

MODELS = ("phi", "phi:1", "phi@style")
HI = {"role": "user", "content": "hi"}
SHOT = ({"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"})


@pytest.fixture
def presets(tmp_path: Path) -> Iterator[Presets]:
    with Registry.open(tmp_path / "registry.db") as registry:
        yield Presets(registry, lambda name: name.lower() in MODELS)


def asked(preset: Preset, *messages: dict[str, Any], **fields: Any) -> Generate:
    return with_preset(Generate(request_id="r", messages=list(messages or (HI,)), **fields), preset)


# -- what may be one


@pytest.mark.parametrize("base", ["phi", "Phi:1", "phi@style", "phi:latest", "auto", "auto:code", "AUTO"])
def test_a_model_and_a_choice_can_have_another_name(presets: Presets, base: str) -> None:
    made = presets.create("mario", base, system="Be Mario.", parameters={"temperature": 0.5, "top_p": None})
    assert (made.base, made.system, made.parameters) == (without_latest(base), "Be Mario.", {"temperature": 0.5})
    assert made.modified_s > 0
    assert presets.all() == (made,)
    assert presets.find("MARIO:latest") == presets.get("mario") == made


def test_a_preset_of_a_preset_takes_over_what_is_not_said_anew(presets: Presets) -> None:
    presets.create("mario", "phi", system="Be Mario.", parameters={"temperature": 0.5, "seed": 1}, messages=SHOT)
    luigi = presets.create("luigi", "mario:latest", system="Be Luigi.", parameters={"seed": 2})
    assert (luigi.base, luigi.system, luigi.messages) == ("phi", "Be Luigi.", SHOT)
    assert luigi.parameters == {"temperature": 0.5, "seed": 2}
    presets.remove("mario")
    assert presets.get("luigi") == luigi


def test_a_preset_can_be_made_anew(presets: Presets) -> None:
    presets.create("mario", "phi", system="Be Mario.")
    assert presets.create("Mario", "auto").system == ""
    assert [each.name for each in presets.all()] == ["Mario"]


@pytest.mark.parametrize(
    ("name", "base", "more", "error"),
    [
        ("", "phi", {}, InvalidRequest),
        ("-x", "phi", {}, InvalidRequest),
        ("a b", "phi", {}, InvalidRequest),
        ("a@b", "phi", {}, InvalidRequest),
        ("a:b:c", "phi", {}, InvalidRequest),
        ("x" * 128, "phi", {}, InvalidRequest),
        ("auto", "phi", {}, InvalidRequest),
        ("auto:code", "phi", {}, InvalidRequest),
        ("phi", "phi", {}, InvalidRequest),
        ("phi:latest", "phi", {}, InvalidRequest),
        ("x", "nobody", {}, ModelNotFound),
        ("x", "auto:cooking", {}, UnknownTask),
        ("x", "phi", {"parameters": {"temperature": 9}}, InvalidRequest),
        ("x", "phi", {"parameters": {"mirostat": 1}}, UnsupportedParameter),
        ("x", "phi", {"messages": [{"role": "tool", "content": "x"}]}, InvalidRequest),
        ("x", "phi", {"messages": [{"role": "user"}]}, InvalidRequest),
        ("x", "phi", {"messages": [{**HI, "images": ["x"]}]}, InvalidRequest),
        ("x", "phi", {"messages": [HI] * (MOST_MESSAGES + 1)}, InvalidRequest),
    ],
)
def test_what_cannot_be_a_preset_is_refused_and_nothing_kept(
    presets: Presets, name: str, base: str, more: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        presets.create(name, base, **more)
    assert presets.all() == ()


def test_there_are_only_so_many_but_each_can_be_made_anew(presets: Presets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets_module, "MOST_PRESETS", 1)
    presets.create("one", "phi")
    presets.create("one", "auto")
    with pytest.raises(InvalidRequest, match="1 presets already"):
        presets.create("two", "phi")


def test_only_presets_are_removed(presets: Presets) -> None:
    presets.create("mario", "phi")
    assert presets.remove("MARIO:latest") == "mario"
    with pytest.raises(PresetNotFound, match="There are none"):
        presets.remove("mario")
    with pytest.raises(InvalidRequest, match="never deletes"):
        presets.remove("phi:1")


@pytest.mark.parametrize(
    ("name", "plain"),
    [("m:latest", "m"), ("m:LATEST", "m"), (" m ", "m"), ("m:1", "m:1"), (":latest", ":latest"), ("latest", "latest")],
)
def test_the_tag_for_no_tag_says_nothing(name: str, plain: str) -> None:
    assert without_latest(name) == plain


# -- what it changes


def test_the_system_text_and_the_messages_go_in_front() -> None:
    preset = Preset(name="p", base="phi", system="Be terse.", messages=SHOT)
    assert asked(preset).messages == [{"role": "system", "content": "Be terse."}, *SHOT, HI]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_text_of_the_request_takes_the_place_of_the_presets(role: str) -> None:
    preset = Preset(name="p", base="phi", system="Be terse.", messages=SHOT)
    own = {"role": role, "content": "Be long."}
    assert asked(preset, own, HI).messages == [own, *SHOT, HI]
    assert asked(preset, HI, own).messages == [*SHOT, HI, own]


def test_parameters_count_where_the_request_says_nothing() -> None:
    parameters = {"temperature": 0.5, "presence_penalty": 1.5, "num_predict": 9, "stop": ["a"], "repeat_penalty": 1.2}
    preset = Preset(name="p", base="phi", parameters=parameters)
    made = asked(preset)
    assert made.sampling == Sampling(temperature=0.5, presence_penalty=1.5, repetition_penalty=1.2)
    assert (made.max_tokens, made.stop) == (9, ["a"])
    own = Sampling(temperature=0.0, presence_penalty=0.0, repetition_penalty=1.0)
    made = asked(preset, sampling=own, max_tokens=TO_THE_END, stop=["b"])
    assert (made.sampling, made.max_tokens, made.stop) == (own, TO_THE_END, ["b"])


def test_a_raw_prompt_stays_as_it_is_beside_the_parameters() -> None:
    preset = Preset(name="p", base="phi", system="Be terse.", parameters={"seed": 3})
    made = asked(preset, prompt="raw")
    assert (made.prompt, made.sampling.seed) == ("raw", 3)


def test_a_parameter_of_a_newer_slmreg_is_an_error_that_names_the_preset() -> None:
    with pytest.raises(UnsupportedParameter, match="parameter of the preset p 'creativity'"):
        options_of(Preset(name="p", base="phi", parameters={"creativity": 11}))
