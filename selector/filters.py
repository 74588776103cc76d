"""What a model must meet to be considered at all. Each filter answers None, or a Rejected with its numbers."""

from __future__ import annotations

from registry.model import Device, ExecutionProvider, Model, Status, Task
from selector.footprint import CONTEXT_STEP, Footprint, format_bytes
from selector.hardware.values import Hardware
from selector.selection import Rejected, SelectionRequest
from selector.utility import PROFILES

# Their devices are found wherever they are, so that one that was not found is not there. The devices of the others
# (DirectML, QNN, ...) cannot be looked for on every system yet: an installed provider is then taken at its word.
_DEVICE_IS_ALWAYS_SEEN = frozenset({ExecutionProvider.CUDA, ExecutionProvider.TENSORRT_RTX, ExecutionProvider.MIGRAPHX})


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
    return None


def reject_context(request: SelectionRequest, model: Model) -> Rejected | None:
    asked, limit = request.context_tokens, request.context_limit_tokens
    if asked is None:
        return None
    if asked > model.context_tokens:
        return Rejected(model.id, "context", f"takes {model.context_tokens} tokens of context; {asked} were asked for")
    if limit is not None and asked > limit:
        return Rejected(model.id, "context", f"sessions are limited to {limit} tokens; {asked} were asked for")
    return None


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
