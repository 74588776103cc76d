"""A prompt with pictures: its tokens, and how it gets into a row of the engine."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime_genai as og

from daemon.worker.backends.generator import GeneratorBackend
from daemon.worker.tokenizer import GenaiTokenizer, encodable
from daemon.worker.vision.sight import Prefill
from registry.errors import InvalidRequest


class GenaiImageReader:
    """By the model's own processor in onnxruntime-genai."""

    def __init__(
        self, model: og.Model, backend: GeneratorBackend, tokenizer: GenaiTokenizer, begin_token: str | None
    ) -> None:
        """``begin_token`` is the text of the token that ``tokenizer_config.json`` calls bos.

        Raises RuntimeError if the folder has no processor that the library can use.
        """
        self._processor = model.create_multimodal_processor()
        self._backend = backend
        # The processor's own tokenizer may put it before every prompt, and chat templates do so too.
        self._doubled = (begin_token or "") if self._adds_tokens(tokenizer) else ""

    def read(self, prompt: str, images: Sequence[bytes]) -> tuple[list[int], Prefill]:
        try:
            text = encodable(prompt.removeprefix(self._doubled))
            inputs = self._processor(text, images=og.Images.open_bytes(*images))
            tokens: list[int] = inputs["input_ids"].as_numpy().ravel().tolist()
        except RuntimeError as error:
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            raise InvalidRequest(f"The images cannot be used: {reason}", param="messages") from error
        return tokens, lambda row: self._backend.take_in(row, inputs)

    def _adds_tokens(self, tokenizer: GenaiTokenizer) -> bool:
        try:
            return int(self._processor("a", images=None)["input_ids"].as_numpy().size) > len(tokenizer.encode("a"))
        except RuntimeError:  # one that wants a picture in every prompt
            return False
