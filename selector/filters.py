"""What a model must meet to be considered at all. Each filter answers None, or a Rejected with its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from registry.model import Device, ExecutionProvider, Modality, Model, Status, Task
from selector.footprint import CONTEXT_STEP, Footprint, format_bytes
from selector.hardware.values import Hardware
from selector.languages import speaks
from selector.selection import HeldBack, Preferences, Rejected, SelectionRequest, SessionFacts, Setback
from selector.utility import PROFILES

# Their devices are found wherever they are, so that one that was not found is not there. The devices of the others
# (DirectML, QNN, ...) cannot be looked for on every system yet: an installed provider is then taken at its word.
_DEVICE_IS_ALWAYS_SEEN = frozenset({ExecutionProvider.CUDA, ExecutionProvider.TENSORRT_RTX, ExecutionProvider.MIGRAPHX})

_WRITES_TEXT = frozenset({Task.CHAT, Task.CODE, Task.REASONING, Task.MATH, Task.TOOLS, Task.VISION})


def least_context(request: SelectionRequest, model: Model) -> int:
    """Tokens the model must have room for: what was asked for, else the task's minimum, at most the model's own.

    A multiple of 256 where the model's own context allows, as that is how sessions are sized.
    """
    wanted = request.context_tokens or PROFILES[request.task].least_context_tokens
    if request.context_limit_tokens is not None:
        wanted = min(wanted, request.context_limit_tokens)
    return min(-(-wanted // CONTEXT_STEP) * CONTEXT_STEP, model.context_tokens)


def reject_status(model: Model) -> Rejected | None:
    if model.status is Status.READY:
        return None
    why = " ".join(problem.message for problem in model.problems)
    return Rejected(model.id, "not_ready", f"is {model.status}" + (f": {why}" if why else ""))


def reject_capability(request: SelectionRequest, model: Model) -> Rejected | None:
    can = ", ".join(model.tasks) or "nothing that was recognised"
    if request.task not in model.tasks:
        return Rejected(model.id, "task", f"cannot do {request.task}; its files show: {can}")
    if request.needs_tools and Task.TOOLS not in model.tasks:
        return Rejected(model.id, "tools", f"has no chat template for tools; its files show: {can}")
    if request.needs_vision and Modality.IMAGE not in model.modalities:
        return Rejected(model.id, "vision", f"takes no images; its files show: {can}")
    if request.needs_json and not _WRITES_TEXT.intersection(model.tasks):
        return Rejected(model.id, "json", f"writes no text that could be JSON; its files show: {can}")
    return None


def reject_lists(request: SelectionRequest, preferences: Preferences, model: Model) -> Rejected | None:
    """By the lists of the machine's owner, and by those of the request."""
    for lists in (preferences, request):
        denied = next((glob for glob in lists.deny if is_meant(model, glob)), None)
        if denied is not None:
            return Rejected(model.id, "denied", f"is on the list of what is not to be used ({denied})")
        if lists.allow and not any(is_meant(model, glob) for glob in lists.allow):
            return Rejected(model.id, "not_allowed", f"is not among what may be used ({', '.join(lists.allow)})")
    return None


def reject_language(request: SelectionRequest, model: Model) -> Rejected | None:
    if request.language is None or speaks(model, request.language) is not False:
        return None
    return Rejected(model.id, "language", f"is not said to know the language {request.language!r}")


def reject_thinking(request: SelectionRequest, model: Model, thinks: bool, way: bool | None) -> Rejected | None:
    """``thinks``: what it does in this ``way`` of answering, which is None if it has only one."""
    if request.thinking is None or request.thinking == thinks:
        return None
    does = "reasons before it answers" if thinks else "answers at once"
    return Rejected(model.id, "thinking", f"{does}, and that was not wanted", thinking=way)


def reject_context(request: SelectionRequest, model: Model) -> Rejected | None:
    asked, limit = request.context_tokens, request.context_limit_tokens
    if asked is None:
        return None
    if asked > model.context_tokens:
        return Rejected(model.id, "context", f"takes {model.context_tokens} tokens of context; {asked} were asked for")
    if limit is not None and asked > limit:
        return Rejected(model.id, "context", f"sessions are limited to {limit} tokens; {asked} were asked for")
    return None


def has_room(session: SessionFacts, request: SelectionRequest) -> bool:
    """Whether a loaded session has the context that is asked for; else its model would have to be loaded again."""
    has, asked = session.context_tokens, request.context_tokens
    return has is None or asked is None or asked <= has


def reject_provider(model: Model, hardware: Hardware) -> Rejected | None:
    """No provider installed, or no device that it can drive."""
    provider = model.execution_provider
    if provider not in hardware.execution_providers:
        installed = ", ".join(hardware.execution_providers)
        advice = next((a.reason for a in hardware.accelerators if a.device is model.device and a.reason), None)
        message = f"needs the execution provider {provider}; installed: {installed}"
        return Rejected(model.id, "execution_provider", f"{message}. {advice}" if advice else message)
    if model.device is Device.CPU:
        return None
    devices = [a for a in hardware.accelerators if a.device is model.device]
    if any(provider in device.execution_providers for device in devices):
        return None
    if not devices and provider not in _DEVICE_IS_ALWAYS_SEEN:
        return None
    found = ", ".join(device.name for device in devices) or "none"
    message = f"needs a {model.device} that {provider} can drive; {model.device} found: {found}"
    return Rejected(model.id, "execution_provider", message)


def reject_memory(model: Model, need: Footprint, available_bytes: int) -> Rejected | None:
    """``need`` is that at the least context, so that ``longest_context`` reaches it exactly where this passes."""
    if need.total_bytes <= available_bytes:
        return None
    return Rejected(model.id, "memory", f"needs {need}; {format_bytes(available_bytes)} available")


def reject_setback(model: Model, need: Footprint, setbacks: Iterable[Setback], *, is_loaded: bool) -> Rejected | None:
    """What ran out of memory is left alone for a while, and so is whatever needs as much of the same memory.

    One that is loaded has its memory: only what happened to itself counts.
    """
    for setback in setbacks:
        is_it = setback.model_id == model.id
        needs_as_much = setback.device is model.device and need.total_bytes >= setback.need_bytes
        if is_it or (needs_as_much and not is_loaded):
            who = "it" if is_it else setback.model_id
            return Rejected(
                model.id,
                "quarantine",
                f"needs {format_bytes(need.total_bytes)}, and {who} ran out of memory with "
                f"{format_bytes(setback.need_bytes)}; tried again in {setback.seconds_left:.0f} s",
                retry_s=setback.seconds_left,
            )
    return None


def reject_held_back(model: Model, held_back: Iterable[HeldBack]) -> Rejected | None:
    """What could not be loaded a moment ago is left alone for a while; what needs as much memory is not."""
    for each in held_back:
        if each.model_id == model.id:
            message = f"could not be loaded: {each.message.rstrip('.')}; tried again in {each.seconds_left:.0f} s"
            return Rejected(model.id, "load_failed", message, retry_s=each.seconds_left)
    return None


def reject_deadline(request: SelectionRequest, model: Model, seconds: float, way: bool | None) -> Rejected | None:
    """``seconds``: what a typical answer of the task would take now."""
    if request.deadline_s is None or seconds <= request.deadline_s:
        return None
    message = f"would take about {seconds:.1f} s for an answer; {request.deadline_s:g} s are allowed"
    return Rejected(model.id, "deadline", message, thinking=way)


def is_meant(model: Model, glob: str) -> bool:
    """Whether a glob is for this model: for its id, its name or its alias; case does not count."""
    return any(matches(text, glob) for text in (model.id, model.name, model.alias))


def matches(text: str, glob: str) -> bool:
    """Case does not count."""
    return fnmatchcase(text.casefold(), glob.casefold())
