"""One loaded model as the daemon sees it: messages in, messages out. Knows nothing of pipes and native libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from daemon.pool.protocol import Accepted, Cancel, Failed, Generate, Measure, Measured, Pulse, ToDaemon, ToWorker
from daemon.worker.answer_format import AnswerFormat, Tokenizer
from daemon.worker.choices import Choices, JobScheduler
from daemon.worker.defaults import with_defaults
from daemon.worker.logprobs import Logprobs, TokenBytes
from daemon.worker.prompt import ChatTemplate
from daemon.worker.request import Job
from daemon.worker.sampling import Sampler, SamplingParams
from daemon.worker.served import failed, refused
from daemon.worker.vision.images import take_images
from daemon.worker.vision.sight import Prefill, Sight
from registry.errors import GenerationFailed, InvalidRequest, SlmregError


class Engine:
    """Turns each Generate into a job of the scheduler.

    ``answers`` says how the model writes; ``end_ids`` are the tokens that end an answer; ``defaults`` count for what a
    request leaves open. ``vocabulary`` tells the bytes of the tokens, of which there are ``vocab_size``. ``begin_ids``
    are the tokens that every text has to begin with. ``adapters`` are the names of the LoRA adapters that there are;
    ``sight`` is for a model that takes pictures. ``time_calls`` raises GenerationFailed; None: it cannot be measured.
    """

    def __init__(
        self,
        *,
        scheduler: JobScheduler,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        answers: AnswerFormat,
        end_ids: frozenset[int],
        defaults: SamplingParams,
        vocabulary: TokenBytes,
        vocab_size: int,
        begin_ids: Sequence[int] = (),
        adapters: frozenset[str] = frozenset(),
        sight: Sight | None = None,
        time_calls: Callable[[Measure], list[float]] | None = None,
    ) -> None:
        self._choices = Choices(scheduler)
        self._tokenizer = tokenizer
        self._template = template
        self._answers = answers
        self._end_ids = end_ids
        self._defaults = defaults
        self._vocabulary = vocabulary
        self._vocab_size = vocab_size
        self._begin_ids = list(begin_ids)
        self._adapters = adapters
        self._sight = sight
        self._time_calls = time_calls

    @property
    def is_idle(self) -> bool:
        return self._choices.is_idle

    def pulse(self) -> Pulse:
        return self._choices.pulse()

    def step(self) -> list[ToDaemon]:
        return self._choices.step()

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        """What to answer at once. A model is loaded only once: a second Load is ignored."""
        match message:
            case Generate():
                return self._submit(message)
            case Cancel(request_id):
                return self._choices.cancel(request_id)
            case Measure() if self._time_calls is not None:
                return [self._measured(message, self._time_calls)]
            case _:
                return refused(message, "answers chats")

    def _measured(self, message: Measure, time_calls: Callable[[Measure], list[float]]) -> ToDaemon:
        if not self.is_idle:
            return failed(
                message.request_id, GenerationFailed("The model answers somebody. Measure it at another time.")
            )
        try:
            return Measured(message.request_id, time_calls(message))
        except GenerationFailed as error:
            return failed(message.request_id, error)

    def _submit(self, request: Generate) -> list[ToDaemon]:
        try:
            asked, jobs = self._jobs(request)
        except SlmregError as error:
            return [failed(request.request_id, error)]
        except MemoryError:
            message = "There was no memory left to prepare the request: MemoryError. Unload other models, or ask again."
            return [Failed(request_id=request.request_id, code=GenerationFailed.code, message=message)]
        except Exception as error:  # one odd request must not end the others; its text may be in the message
            message = f"The request could not be prepared: {type(error).__name__}. Check the form of its messages."
            return [Failed(request_id=request.request_id, code=InvalidRequest.code, message=message)]
        events = self._choices.submit(jobs)
        if isinstance(request.prompt, list):
            return [replace(each, prompt_text=asked) if isinstance(each, Accepted) else each for each in events]
        return events

    def _jobs(self, request: Generate) -> tuple[str, list[Job]]:
        """The text of the prompt, and one job for each answer that is wanted."""
        if request.adapter is not None and request.adapter not in self._adapters:
            raise InvalidRequest(
                f"There is no adapter {request.adapter!r:.100} in the folder of this model any more.", param="model"
            )
        asked, prompt, prefill = self._prompt(request)
        if not prompt:
            param = "messages" if request.prompt is None else "prompt"
            raise InvalidRequest("The prompt is empty: there is nothing to answer.", param=param)
        return asked, [self._job(request, asked, prompt, prefill, choice) for choice in range(request.choices)]

    def _job(self, request: Generate, asked: str, prompt: list[int], prefill: Prefill | None, choice: int) -> Job:
        params = with_defaults(request.sampling, self._defaults, vocab_size=self._vocab_size)
        if params.seed is not None:
            params = replace(params, seed=params.seed + choice)
        end_ids = self._end_ids | set(request.stop_token_ids)
        text = self._answers.text(request, asked)
        sampler = Sampler(
            params,
            prompt=prompt,
            end_ids=end_ids,
            min_tokens=request.min_tokens,
            constraint=self._answers.constraint(request, text),
        )
        return Job(
            request_id=request.request_id,
            prompt=prompt,
            max_tokens=request.max_tokens,
            end_ids=end_ids,
            sampler=sampler,
            text=text,
            adapter=request.adapter,
            can_reuse=prefill is None,
            prefill=prefill,
            logprobs=None if request.top_logprobs is None else Logprobs(self._vocabulary, request.top_logprobs),
        )

    def _prompt(self, request: Generate) -> tuple[str, list[int], Prefill | None]:
        """Its text and tokens, and how these are read where there are pictures among them."""
        if request.prompt is not None:
            return *self._raw(request.prompt), None
        messages, images = take_images(request.messages)
        tools = [] if request.tool_choice == "none" else request.tools
        thinking = False if request.prefill else request.thinking  # what is begun is the answer
        if not images:
            asked = self._answers.begun(self._template.render(messages, tools, thinking=thinking), request.prefill)
            return asked, self._encode(asked), None
        if self._sight is None:
            raise InvalidRequest(
                "This model takes no images: leave them out, or choose one that can do vision.", param="messages"
            )
        asked = self._template.render(self._sight.placeholders.put(messages), tools, thinking=thinking)
        asked = self._answers.begun(asked, request.prefill)
        return asked, *self._sight.reader.read(asked, images)

    def _raw(self, prompt: str | list[int]) -> tuple[str, list[int]]:
        """A prompt that is no chat. A text gets what every text begins with, token ids are taken as they are."""
        if isinstance(prompt, str):
            ids = self._encode(prompt)
            ids = ids if ids[: len(self._begin_ids)] == self._begin_ids else [*self._begin_ids, *ids]
        else:
            ids = prompt
            unknown = next((token for token in ids if not 0 <= token < self._vocab_size), None)
            if unknown is not None:
                raise InvalidRequest(
                    f"There is no token {unknown}: this model has {self._vocab_size} of them.", param="prompt"
                )
        if not ids:
            raise InvalidRequest("The prompt is empty: there is nothing to go on from.", param="prompt")
        return (prompt if isinstance(prompt, str) else self._tokenizer.decode(ids)), ids

    def _encode(self, text: str) -> list[int]:
        try:
            return self._tokenizer.encode(text)
        except RuntimeError as error:
            raise GenerationFailed(f"The model's tokenizer failed at this prompt: {error}") from error
