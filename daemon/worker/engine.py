"""One loaded model as the daemon sees it: messages in, messages out. Knows nothing of pipes and native libraries."""

from __future__ import annotations

from dataclasses import replace

from daemon.pool.protocol import Cancel, Failed, Generate, ToDaemon, ToWorker
from daemon.worker.answer_format import AnswerFormat, Tokenizer
from daemon.worker.choices import Choices, JobScheduler
from daemon.worker.defaults import with_defaults
from daemon.worker.logprobs import Logprobs, TokenBytes
from daemon.worker.prompt import ChatTemplate
from daemon.worker.request import Job
from daemon.worker.sampling import Sampler, SamplingParams
from registry.errors import GenerationFailed, InvalidRequest, SlmregError


class Engine:
    """Turns each Generate into a job of the scheduler.

    ``answers`` says how the model writes; ``end_ids`` are the tokens that end an answer; ``defaults`` count for what a
    request leaves open. ``vocabulary`` tells the bytes of the tokens, of which there are ``vocab_size``.
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
    ) -> None:
        self._choices = Choices(scheduler)
        self._tokenizer = tokenizer
        self._template = template
        self._answers = answers
        self._end_ids = end_ids
        self._defaults = defaults
        self._vocabulary = vocabulary
        self._vocab_size = vocab_size

    @property
    def is_idle(self) -> bool:
        return self._choices.is_idle

    def step(self) -> list[ToDaemon]:
        return self._choices.step()

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        """What to answer at once. A model is loaded only once: a second Load is ignored."""
        match message:
            case Generate():
                return self._submit(message)
            case Cancel(request_id):
                return self._choices.cancel(request_id)
            case _:
                return []

    def _submit(self, request: Generate) -> list[ToDaemon]:
        try:
            jobs = self._jobs(request)
        except SlmregError as error:
            param = error.param if isinstance(error, InvalidRequest) else None
            return [Failed(request_id=request.request_id, code=error.code, message=error.message, param=param)]
        except MemoryError:
            message = "There was no memory left to prepare the request: MemoryError. Unload other models, or ask again."
            return [Failed(request_id=request.request_id, code=GenerationFailed.code, message=message)]
        except Exception as error:  # one odd request must not end the others; its text may be in the message
            message = f"The request could not be prepared: {type(error).__name__}. Check the form of its messages."
            return [Failed(request_id=request.request_id, code=InvalidRequest.code, message=message)]
        return self._choices.submit(jobs)

    def _jobs(self, request: Generate) -> list[Job]:
        """One job for each answer that is wanted."""
        tools = [] if request.tool_choice == "none" else request.tools
        asked = self._template.render(request.messages, tools, thinking=request.thinking)
        try:
            prompt = self._tokenizer.encode(asked)
        except RuntimeError as error:
            raise GenerationFailed(f"The model's tokenizer failed at this prompt: {error}") from error
        if not prompt:
            raise InvalidRequest("The chat makes an empty prompt: there is nothing to answer.", param="messages")
        return [self._job(request, asked, prompt, choice) for choice in range(request.choices)]

    def _job(self, request: Generate, asked: str, prompt: list[int], choice: int) -> Job:
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
            logprobs=None if request.top_logprobs is None else Logprobs(self._vocabulary, request.top_logprobs),
        )
