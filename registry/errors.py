"""Every error that slmreg raises on purpose.

    SlmregError
    |-- InvalidRequest            the caller's input is wrong
    |   |-- UnknownTask
    |   |-- UnsupportedParameter
    |   `-- ContextLengthExceeded
    |-- SettingsError             config.toml, SLMREG_* or a flag is wrong
    |-- InvalidRoot               a model root that cannot be added
    |-- InvalidModelFolder        a folder that is not a usable model
    |-- DatabaseError             the registry cannot be opened, read or written
    |-- ModelNotFound
    |-- AdapterNotFound           the model has no such LoRA adapter
    |-- PresetNotFound            no preset has this name
    |-- SelectionNotFound         a recorded choice that is not kept (any more)
    |-- ResponseNotFound          an answer to go on from that is not kept (any more)
    |-- ModelNotUsable            known, but partial, invalid, missing or blocked
    |-- NoModelForTask            nothing on this machine can do the task now
    |-- ModelInUse                others use it, or keep it: unloading it takes an admin
    |-- PinnedModelNotUsable      the pinned model cannot serve, and pins are never replaced
    |-- OutOfBudget               the model does not fit beside what is busy or pinned
    |-- Overloaded                a queue is full
    |-- TooBusy                   all queues together are full
    |-- LoadFailed                the worker could not load the model
    |-- WorkerDied                the worker went away in the middle of a request
    |-- ModelUnloaded             the model was taken away in the middle of a request
    |-- GenerationFailed          the engine refused or broke one request
    |-- NotOffered                another server does that; slmreg does not
    |-- AnswerTimedOut            the answer took longer than request_timeout_s, or than the request's own deadline
    |-- DaemonStopping
    |-- DaemonNotRunning
    |-- DaemonAlreadyRunning
    |-- AddressInUse
    `-- ServiceError              the system's own services: systemd, launchd, the task scheduler
        `-- NoServiceSystem       this machine has none that slmreg knows, or none for this user

A message says what happened, to which thing, and what to do. ``code`` is the stable machine-readable name; the HTTP
status of each class stands in one table in ``daemon/api/errors.py``.
"""

from __future__ import annotations

from collections.abc import Sequence


class SlmregError(Exception):
    """Base of all errors that carry a message for the person who reads it."""

    code: str = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(SlmregError):
    """The request cannot be honoured as it is; ``param`` names the offending field, if there is one."""

    code = "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnknownTask(InvalidRequest):
    code = "unknown_task"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not leave room for one token in the context of the loaded session.

    ``message`` and ``param`` are for what is no chat: a text to make a vector of.
    """

    code = "context_length_exceeded"

    def __init__(
        self, prompt_tokens: int, context_tokens: int, *, message: str | None = None, param: str = "messages"
    ) -> None:
        super().__init__(
            message
            or f"The prompt has {prompt_tokens} tokens, and this model takes at most {context_tokens} tokens of "
            "prompt and answer together. Shorten it, or choose a model with a longer context.",
            param=param,
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class SettingsError(SlmregError):
    code = "invalid_settings"


class InvalidRoot(SlmregError):
    code = "invalid_root"


class InvalidModelFolder(SlmregError):
    """A folder that looks like a model but cannot be used.

    ``code`` is one of the problem codes of ``registry.problems``; ``file`` is the file it was found in, relative to the
    folder.
    """

    def __init__(self, code: str, message: str, *, file: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.file = file


class DatabaseError(SlmregError):
    code = "database_error"


class ModelNotFound(SlmregError):
    code = "model_not_found"

    def __init__(self, reference: str, suggestions: Sequence[str] = ()) -> None:
        hint = f" Did you mean {' or '.join(suggestions)}?" if suggestions else " `slmreg list` shows what is here."
        super().__init__(f"There is no model {reference!r}.{hint}")
        self.param = "model"
        self.reference = reference
        self.suggestions = tuple(suggestions)


class AdapterNotFound(SlmregError):
    code = "adapter_not_found"

    def __init__(self, model_id: str, adapter: str, known: Sequence[str]) -> None:
        has = f"It has: {', '.join(known)}." if known else "It has none."
        super().__init__(f"{model_id} has no adapter {adapter!r}. {has} `slmreg show` lists them.")
        self.param = "model"


class PresetNotFound(SlmregError):
    code = "preset_not_found"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        has = f"There are: {', '.join(known)}." if known else "There are none."
        super().__init__(f"There is no preset {name!r}. {has}")
        self.param = "model"


class SelectionNotFound(SlmregError):
    code = "selection_not_found"


class ResponseNotFound(SlmregError):
    code = "response_not_found"

    def __init__(self, id: str, *, param: str = "response_id") -> None:
        super().__init__(
            f"There is no answer {id!r:.100}: it was never kept (store), is too old, was deleted, or goes on from one "
            "that was. Send the whole conversation as 'input'."
        )
        self.param = param


class ModelNotUsable(SlmregError):
    code = "model_not_usable"


class ModelInUse(SlmregError):
    code = "model_in_use"


class PinnedModelNotUsable(SlmregError):
    code = "pinned_model_not_usable"


class _Retryable(SlmregError):
    """An error that may go away by itself; ``retry_after_s`` is when it is worth trying again."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NoModelForTask(_Retryable):
    code = "no_model_for_task"


class OutOfBudget(_Retryable):
    code = "out_of_memory_budget"


class Overloaded(_Retryable):
    code = "overloaded"


class TooBusy(_Retryable):
    code = "too_busy"


class LoadFailed(_Retryable):
    code = "load_failed"


class WorkerDied(_Retryable):
    code = "worker_died"


class ModelUnloaded(_Retryable):
    code = "model_unloaded"


class DaemonStopping(_Retryable):
    code = "stopping"


class GenerationFailed(SlmregError):
    code = "generation_failed"


class NotOffered(SlmregError):
    code = "not_offered"


class AnswerTimedOut(SlmregError):
    code = "answer_timed_out"


class DaemonNotRunning(SlmregError):
    code = "daemon_not_running"


class DaemonAlreadyRunning(SlmregError):
    code = "daemon_already_running"


class AddressInUse(SlmregError):
    code = "address_in_use"


class ServiceError(SlmregError):
    code = "service_error"


class NoServiceSystem(ServiceError):
    code = "no_service_system"
