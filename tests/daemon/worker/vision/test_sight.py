"""A real model that sees, from a picture in a chat to the words that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Accepted, Delta, Failed, Finished, Generate, Load, Sampling, ToDaemon
from daemon.worker.loading import load_engine
from daemon.worker.served import ServedModel
from daemon.worker.vision.images import IMAGE_PART
from daemon.worker.vision.placeholders import Placeholders
from registry.errors import InvalidRequest
from scripts.model_factory.vision import TOKENS_PER_IMAGE, write_vision_model
from tests.pictures import data_url, png

RED, BLUE = png((255, 0, 0)), png((0, 0, 255))
SAY = {"type": "text", "text": "what is it?"}


def load(folder: Path, **changes: Any) -> ServedModel:
    fields = {"execution_provider": "cpu", "threads": 1, "context_tokens": 2048, "max_concurrent": 2, **changes}
    return load_engine(Load(path=str(folder), **fields))[0]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedModel]:
    yield load(write_vision_model(tmp_path_factory.mktemp("vision") / "gemma-tiny"))


def picture(content: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(content)}}


def ask(*content: Any, request_id: str = "r", **more: Any) -> Generate:
    settings = {"max_tokens": 12, "sampling": Sampling(temperature=0), **more}
    return Generate(request_id=request_id, messages=[{"role": "user", "content": list(content)}], **settings)


def run(model: ServedModel, *requests: Generate) -> list[ToDaemon]:
    events = [event for request in requests for event in model.handle(request)]
    while not model.is_idle:
        events += model.step()
    return events


def said(events: list[ToDaemon], request_id: str = "r") -> str:
    assert any(isinstance(event, Finished) and event.request_id == request_id for event in events), events[-1]
    return "".join(event.text for event in events if isinstance(event, Delta) and event.request_id == request_id)


def test_what_is_said_depends_on_what_is_seen(seeing: ServedModel) -> None:
    events = run(seeing, ask(picture(RED), SAY))
    (accepted,) = [event for event in events if isinstance(event, Accepted)]
    assert accepted.prompt_tokens > TOKENS_PER_IMAGE
    red = said(events)
    assert red == said(run(seeing, ask(picture(RED), SAY)))
    assert red != said(run(seeing, ask(picture(BLUE), SAY)))
    assert red != said(run(seeing, ask(SAY)))


def test_chats_with_and_without_pictures_run_side_by_side(seeing: ServedModel) -> None:
    requests = {"red": ask(picture(RED), SAY, request_id="red"), "text": ask(SAY, request_id="text")}
    alone = {name: said(run(seeing, request), name) for name, request in requests.items()}
    together = run(seeing, *requests.values())
    assert {name: said(together, name) for name in requests} == alone


def test_an_answer_that_outgrows_its_row_still_knows_the_picture(seeing: ServedModel, tmp_path: Path) -> None:
    """A row begins with 512 tokens, and is made anew, picture and all, when the answer gets longer."""
    endless = Sampling(temperature=0)
    grown = run(seeing, ask(picture(RED), SAY, max_tokens=None, sampling=endless))
    roomy = run(seeing, ask(picture(RED), SAY, max_tokens=1700, sampling=endless))
    assert said(grown)[:600] == said(roomy)[:600]


@pytest.mark.parametrize(
    "content",
    [
        [picture(b"\xff\xd8" + bytes(99)), SAY],
        [picture(RED[:45]), SAY],
        [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
    ],
)
def test_a_picture_that_cannot_be_used_is_the_clients_to_correct(seeing: ServedModel, content: list[Any]) -> None:
    (failed,) = run(seeing, ask(*content))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", "messages")
    assert said(run(seeing, ask(picture(RED), SAY))) != ""


def test_a_prompt_that_names_a_picture_and_has_none_is_no_harm(seeing: ServedModel) -> None:
    events = run(seeing, ask(picture(RED), {"type": "text", "text": "<start_of_image>"}))
    assert isinstance(events[-1], Failed)
    assert said(run(seeing, ask(SAY))) != ""


def test_a_model_that_reads_only_says_so(tiny_model: Path) -> None:
    model = load(tiny_model)
    (failed,) = run(model, ask(picture(RED), SAY))
    assert isinstance(failed, Failed)
    assert "takes no images" in failed.message
    assert said(run(model, ask(SAY))) != ""


# -- where a picture stands in a prompt


class Written:
    """A template that writes the parts it knows."""

    source = "test"

    def __init__(self, *known: str) -> None:
        self._known = known

    def render(self, messages: Any, tools: Any, *, thinking: bool | None = None) -> str:
        content = messages[0]["content"]
        if "nothing" in self._known:
            raise InvalidRequest("only text")
        if "python" in self._known:
            return str(content)
        return "".join(part.get("text", "<IMG>") for part in content if part["type"] in self._known)


MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [IMAGE_PART, SAY, IMAGE_PART]},
    {"role": "assistant", "content": "ok"},
]


def test_a_template_with_words_of_its_own_for_pictures_gets_them_as_they_are() -> None:
    assert Placeholders(Written("image", "text"), "gemma3").put(MESSAGES) == MESSAGES


@pytest.mark.parametrize("template", [Written("text"), Written("python"), Written("nothing")])
def test_for_another_template_the_words_of_the_family_stand_in_the_text(template: Written) -> None:
    (user, assistant) = Placeholders(template, "phi3v").put(MESSAGES)
    assert user["content"] == "<|image_1|>\nwhat is it?<|image_2|>\n"
    assert assistant == MESSAGES[1]


def test_without_either_there_is_no_place_for_pictures() -> None:
    with pytest.raises(InvalidRequest, match="no place for images"):
        Placeholders(Written("text"), "unheard_of").put(MESSAGES)
