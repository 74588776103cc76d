"""Where a picture stands in a prompt: the chat template's own words for it, else those of the model's family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.worker.prompt import ChatTemplate
from daemon.worker.vision.images import IMAGE_PART
from registry.errors import InvalidRequest

# What onnxruntime-genai 0.18 looks for in prompts, by the beginning of model.type; %d counts from 1.
_BY_TYPE = {
    "gemma3": "<start_of_image>",
    "phi3v": "<|image_%d|>\n",
    "phi4mm": "<|image_%d|>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "fara": "<|vision_start|><|image_pad|><|vision_end|>",
    "mistral3": "[IMG]",
}
_TEXT = {"type": "text", "text": "?"}

Messages = Sequence[Mapping[str, Any]]


class Placeholders:
    """For one loaded model."""

    def __init__(self, template: ChatTemplate, model_type: str) -> None:
        self._has_own = _has_own_words(template)
        self._family = next((words for kind, words in _BY_TYPE.items() if model_type.startswith(kind)), None)

    def put(self, messages: Messages) -> list[Mapping[str, Any]]:
        """``messages`` with IMAGE_PARTs, so that the chat template can render them. Raises InvalidRequest."""
        if self._has_own:
            return list(messages)
        if self._family is None:
            raise InvalidRequest("The chat template of this model has no place for images.", param="messages")
        count = 0
        put: list[Mapping[str, Any]] = []
        for message in messages:
            content = message.get("content")
            if isinstance(content, list):
                texts = []
                for part in content:
                    count += part == IMAGE_PART
                    texts.append(self._family.replace("%d", str(count)) if part == IMAGE_PART else part["text"])
                content = "".join(texts)
            put.append({**message, "content": content})
        return put


def _has_own_words(template: ChatTemplate) -> bool:
    """Whether the template writes something else for a picture with a text than for the text alone."""

    def rendered(*parts: Mapping[str, Any]) -> str:
        return template.render([{"role": "user", "content": list(parts)}], [])

    try:
        with_image, without = rendered(IMAGE_PART, _TEXT), rendered(_TEXT)
    except InvalidRequest:
        return False
    # A template that prints lists as they are prints the words of the part too.
    return with_image != without and "'type'" not in with_image and '"type"' not in with_image
