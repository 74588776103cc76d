"""One loaded model as the daemon sees it: messages in, messages out. Knows nothing of pipes and native libraries."""

from __future__ import annotations

from typing import Protocol

from daemon.pool.protocol import Cancel, Failed, Generate, ToDaemon, ToWorker
from daemon.worker.defaults import with_defaults
from daemon.worker.prompt import ChatTemplate
from daemon.worker.sampling import Sampler, SamplingParams
from daemon.worker.scheduler import Job, Scheduler
from daemon.worker.served import failed, refused
from daemon.worker.text import AnswerText, TextDecoder
from daemon.worker.vision.images import take_images
from daemon.worker.vision.sight import Prefill, Sight
from registry.errors import GenerationFailed, InvalidRequest, SlmregError


class Tokenizer(TextDecoder, Protocol):
    def encode(self, text: str) -> list[int]: ...


class Engine:
    """Turns each Generate into a job of the scheduler.

    ``end_ids`` are the tokens that end an answer; ``defaults`` count for what a request leaves open;
    ``adapters`` are the names of the LoRA adapters that there are; ``sight`` is
    for a model that takes pictures.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        end_ids: frozenset[int],
        defaults: SamplingParams,
        adapters: frozenset[str] = frozenset(),
        sight: Sight | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._tokenizer = tokenizer
        self._template = template
        self._end_ids = end_ids
        self._defaults = defaults
        self._adapters = adapters
        self._sight = sight

    @property
    def is_idle(self) -> bool:
        return self._scheduler.is_idle

    def step(self) -> list[ToDaemon]:
        return self._scheduler.step()

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        """What to answer at once. A model is loaded only once: a second Load is ignored."""
        match message:
            case Generate():
                return self._submit(message)
            case Cancel(request_id):
                return self._scheduler.cancel(request_id)
            case _:
                return refused(message, "answers chats")

    def _submit(self, request: Generate) -> list[ToDaemon]:
        try:
            job = self._job(request)
        except SlmregError as error:
            return [failed(request.request_id, error)]
        except MemoryError:
            message = "There was no memory left to prepare the request: MemoryError. Unload other models, or ask again."
            return [Failed(request_id=request.request_id, code=GenerationFailed.code, message=message)]
        except Exception as error:  # one odd request must not end the others; its text may be in the message
            message = f"The request could not be prepared: {type(error).__name__}. Check the form of its messages."
            return [Failed(request_id=request.request_id, code=InvalidRequest.code, message=message)]
        return self._scheduler.submit(job)

    def _job(self, request: Generate) -> Job:
        if request.adapter is not None and request.adapter not in self._adapters:
            raise InvalidRequest(
                f"There is no adapter {request.adapter!r:.100} in the folder of this model any more.", param="model"
            )
        prompt, prefill = self._prompt(request)
        if not prompt:
            raise InvalidRequest("The chat makes an empty prompt: there is nothing to answer.", param="messages")
        return Job(
            request_id=request.request_id,
            prompt=prompt,
            max_tokens=request.max_tokens,
            end_ids=self._end_ids,
            sampler=Sampler(with_defaults(request.sampling, self._defaults)),
            text=AnswerText(self._tokenizer, request.stop),
            adapter=request.adapter,
            prefill=prefill,
        )

    def _prompt(self, request: Generate) -> tuple[list[int], Prefill | None]:
        """Its tokens, and how they are read where there are pictures among them."""
        messages, images = take_images(request.messages)
        if not images:
            return self._encode(self._template.render(messages, request.tools, thinking=request.thinking)), None
        if self._sight is None:
            raise InvalidRequest(
                "This model takes no images: leave them out, or choose one that can do vision.", param="messages"
            )
        text = self._template.render(self._sight.placeholders.put(messages), request.tools, thinking=request.thinking)
        return self._sight.reader.read(text, images)

    def _encode(self, text: str) -> list[int]:
        try:
            return self._tokenizer.encode(text)
        except RuntimeError as error:
            raise GenerationFailed(f"The model's tokenizer failed at this prompt: {error}") from error
