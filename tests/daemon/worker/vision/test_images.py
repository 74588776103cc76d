"""Pictures out of a chat: only data URLs, only what can be decoded, and only so much of it."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from daemon.worker.vision import images as images_module
from daemon.worker.vision.images import IMAGE_PART, take_images
from registry.errors import InvalidRequest
from tests.pictures import claimed, data_url, picture, png

RED = png((255, 0, 0))
SAY = {"type": "text", "text": "what is it?"}


def part(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def user(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def pixels(file: bytes) -> tuple[tuple[int, int], Any]:
    image = Image.open(io.BytesIO(file), formats=("PNG",))
    return image.size, image.convert("RGB").getpixel((0, 0))


def test_a_picture_becomes_a_part_that_templates_know_and_everything_else_stays() -> None:
    chat = [{"role": "system", "content": "be brief"}, *user(SAY, part(data_url(RED)), SAY), {"role": "assistant"}]
    messages, images = take_images(chat)
    assert [pixels(image) for image in images] == [((20, 10), (255, 0, 0))]
    assert messages[0] == chat[0]
    assert messages[1] == {"role": "user", "content": [SAY, IMAGE_PART, SAY]}
    assert take_images(user(SAY)) == (user(SAY), [])


@pytest.mark.parametrize("kind", ["jpeg", "webp", "gif"])
def test_other_kinds_become_png_files_and_the_url_may_stand_alone(kind: str) -> None:
    file = picture((0, 0, 255), kind)
    messages, images = take_images(user({"type": "image_url", "image_url": data_url(file, f"image/{kind}")}))
    assert messages[0]["content"] == [IMAGE_PART]
    size, color = pixels(images[0])
    assert size == (20, 10)
    assert color == pytest.approx((0, 0, 255), abs=3)


def test_a_photograph_is_turned_the_way_its_camera_was_held() -> None:
    (image,) = take_images(user(part(data_url(picture((0, 0, 255), "jpeg", turned=True), "image/jpeg"))))[1]
    assert pixels(image)[0] == (10, 20)


def test_a_damaged_file_is_refused_and_ends_nothing() -> None:
    """What onnxruntime-genai itself ends the process at."""
    whole = picture((0, 0, 255), "jpeg")
    for damaged in (
        whole[:30],
        whole[: len(whole) // 2],
        whole[:100] + bytes(200) + whole[300:],
        b"\xff\xd8" + bytes(99),
    ):
        with pytest.raises(InvalidRequest, match="is damaged"):
            take_images(user(part(data_url(damaged, "image/jpeg"))))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (part("https://example.com/a.png"), "fetches nothing"),
        (part("file:///etc/passwd"), "fetches nothing"),
        (part("data:text/html;base64,AAAA"), "fetches nothing"),
        (part("data:image/png,abc"), "fetches nothing"),
        (part(None), "fetches nothing"),
        ({"type": "image_url"}, "fetches nothing"),
        (part("data:image/png;base64,!!!"), "base64"),
        (part(data_url(b"GIF89a" + bytes(50))), "is damaged"),
        (part(data_url(b"")), "is damaged"),
        (part(data_url(RED[:20])), "is damaged"),
        (part(data_url(RED[:45])), "is damaged"),
        (part(data_url(png((0, 0, 0), width=0))), "is damaged"),
        (part(data_url(claimed(10_000, 8_000))), "10000 x 8000 pixels"),
        (part(data_url(claimed(10_000, 10_000))), "more than 64000000 pixels"),
        (part(data_url(claimed(100_000, 100_000))), "more than 64000000 pixels"),
        ({"type": "input_audio", "input_audio": {}}, "input_audio"),
    ],
)
def test_what_is_no_picture_that_can_be_taken_is_refused(given: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidRequest, match=word) as error:
        take_images(user(given))
    assert error.value.param == "messages"


def test_number_and_size_of_pictures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "MAX_IMAGES", 2)
    url = data_url(RED)
    assert len(take_images(user(part(url), part(url)))[1]) == 2
    with pytest.raises(InvalidRequest, match="more than 2 images"):
        take_images([*user(part(url), part(url)), *user(part(url))])
    monkeypatch.setattr(images_module, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(InvalidRequest, match="more than 10 bytes"):
        take_images(user(part(f"data:image/png;base64,{base64.b64encode(bytes(200)).decode()}")))
