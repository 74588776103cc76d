"""The models and folders of this machine, and the pins: what cannot be used, is doubtful, gone, or there twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from daemon.doctor.finding import Finding, Level
from registry.model import FolderProblem, Model, Pin, Status
from registry.problems import ProblemCode
from registry.reading.family_template import FAMILY_DEFAULT
from selector.footprint import format_bytes

# More than tokenizers and their like take; a second graph takes as much as the first.
_MUCH_BYTES = 100_000_000
_MUCH_SHARE = 0.3
# What keeps a folder from being used, and yet is nothing that anybody has to mend.
_JUST_SO = frozenset(
    {
        ProblemCode.UNFINISHED,
        ProblemCode.NOT_GENAI,
        ProblemCode.LINK_NOT_FOLLOWED,
        ProblemCode.CUSTOM_OPS_LIBRARY,
    }
)


def folder_findings(problems: Iterable[FolderProblem], models: Iterable[Model]) -> Iterator[Finding]:
    """One for each code, of the folders and models that cannot be used because of it."""
    by_code: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for problem in problems:
        by_code[problem.code].append((str(problem.path), problem.message))
    for model in models:
        if model.status in (Status.INVALID, Status.BLOCKED, Status.PARTIAL):
            for fault in model.problems:
                by_code[fault.code].append((model.id, fault.message))
    for code, found in sorted(by_code.items()):
        level = Level.NOTE if code in _JUST_SO else Level.PROBLEM
        several = f"{len(found)} folders have the problem {code}" if len(found) > 1 else found[0][0]
        first = found[0][1]
        yield Finding(level, code, f"{several}: {first}", None, tuple(name for name, _ in found) if found[1:] else ())


def doubt_findings(models: Iterable[Model]) -> Iterator[Finding]:
    """What is not as it should be with models that can be used: no chat template of its own, an unread catalog, ..."""
    by_code: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for model in models:
        if model.status is not Status.READY:
            continue
        if (model.chat_template or "").startswith(FAMILY_DEFAULT):
            by_code["template"].append((model.id, f"its prompts are made with a {model.chat_template}"))
        for doubt in model.problems:
            if doubt.code != ProblemCode.DUPLICATE_ID:  # told with the copies
                by_code[doubt.code].append((model.id, doubt.message))
    for code, found in sorted(by_code.items()):
        several = f"{len(found)} models that can be used have the problem {code}" if found[1:] else found[0][0]
        names = tuple(name for name, _ in found) if found[1:] else ()
        yield Finding(Level.NOTE, code, f"{several}: {found[0][1]}", "`slmreg show MODEL` tells more.", names)


def model_findings(models: Sequence[Model]) -> Iterator[Finding]:
    ready = [model for model in models if model.status is Status.READY]
    if all(model.is_demo for model in ready):
        yield Finding(
            Level.NOTE,
            "models",
            "There is no model but the demo model." if ready else "There is no model.",
            "Add a folder of ONNX Runtime GenAI models with `slmreg roots add PATH`.",
        )
    else:
        size = format_bytes(sum(model.size_bytes for model in ready))
        yield Finding(Level.OK, "models", f"{len(ready)} can be used ({size})")
    unverified = [model for model in ready if model.verified_s is None and not model.is_demo]
    if unverified:
        yield Finding(
            Level.NOTE,
            "verified",
            f"{len(unverified)} of {len(ready)} were never read in full since they were written.",
            "`slmreg verify` does so.",
            tuple(model.id for model in unverified),
        )
    elif ready:
        yield Finding(Level.OK, "verified", "all of them are as they were when every byte was read")
    yield from _missing(models)
    yield from _duplicates(models)
    yield from _unused_files(ready)


def _unused_files(models: Iterable[Model]) -> Iterator[Finding]:
    """Adapters are files that a request may ask for."""
    spare = [(model, model.size_bytes - model.weight_bytes) for model in models if not model.adapters]
    heavy = [(model, size) for model, size in spare if size > max(_MUCH_BYTES, _MUCH_SHARE * model.weight_bytes)]
    if heavy:
        yield Finding(
            Level.NOTE,
            "unused files",
            f"{len(heavy)} folders hold {format_bytes(sum(size for _, size in heavy))} that is never loaded",
            "Often a second copy of the graph in another precision. Delete what genai_config.json does not name.",
            tuple(f"{model.id}: {format_bytes(size)} in {model.path}" for model, size in heavy),
        )


def _missing(models: Sequence[Model]) -> Iterator[Finding]:
    gone = [model for model in models if model.status is Status.MISSING]
    if gone:
        yield Finding(
            Level.NOTE,
            "missing",
            f"{len(gone)} were here before",
            "Put them back if you need them: they come back with everything that was known of them.",
            tuple(f"{model.id} since {_day(model.missing_since_s)}, was at {model.path}" for model in gone),
        )


def _duplicates(models: Sequence[Model]) -> Iterator[Finding]:
    there = [model for model in models if model.status is not Status.MISSING]
    renamed = [m.id for m in there if any(p.code == ProblemCode.DUPLICATE_ID for p in m.problems)]
    if renamed:
        yield Finding(
            Level.NOTE,
            "duplicates",
            f"{len(renamed)} have the id of another model and are listed under one of their own",
            "Give them names of their own in their inference_model.json, or remove what you do not need.",
            tuple(renamed),
        )
    copied = [model for model in there if model.locations]
    if copied:
        size = format_bytes(sum(model.size_bytes * len(model.locations) for model in copied))
        yield Finding(
            Level.NOTE,
            "copies",
            f"{len(copied)} are on the disk more than once ({size} could be free)",
            "Remove the copies you do not need.",
            tuple(f"{model.id}: {path}" for model in copied for path in (model.path, *model.locations)),
        )


def pin_findings(pins: Iterable[Pin], why_not: Callable[[Pin], str | None]) -> Iterator[Finding]:
    """``why_not`` says why a pinned model cannot serve now; None if it can."""
    for pin in pins:
        subject = f"pin {pin.task}"
        if pin.is_waiting and pin.pattern is None:
            yield Finding(
                Level.NOTE,
                subject,
                f"waits for {pin.model_id}, which is not here yet; until then slmreg chooses",
                f"Get that model, or `slmreg unpin {pin.task}`.",
            )
        elif (reason := why_not(pin)) is not None:
            advice = f"Mend that, pin another model, or `slmreg unpin {pin.task}`: a pin is never replaced in silence."
            yield Finding(Level.PROBLEM, subject, f"{pin.model_id} cannot serve. {_sentence(reason)}", advice)
        else:
            yield Finding(Level.OK, subject, pin.model_id)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def _day(unix_s: float | None) -> str:
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat() if unix_s is not None else "some time"
