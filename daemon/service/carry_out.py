"""Does what a plan says, step by step, and stops at the first one that fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.service.plan import MakeFolder, Plan, RunCommand, Step, WriteFile
from registry.errors import ServiceError

# Longer than a start that looks through many models, or a stop that lets answers finish.
COMMAND_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a command; ``output`` is both streams."""

    exit_code: int
    output: str


def run_command(arguments: tuple[str, ...]) -> Outcome:
    """Raises ServiceError if there is no such program or it does not end."""
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ServiceError(f"There is no program {arguments[0]!r} here, which manages services.") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{' '.join(arguments)} did not end within {COMMAND_TIMEOUT_S:.0f} s.") from error
    return Outcome(done.returncode, done.stdout.decode("utf-8", errors="replace"))


Run = Callable[[tuple[str, ...]], Outcome]


def carry_out(plan: Plan, tell: Callable[[str], object], *, run: Run = run_command) -> None:
    """``tell`` hears each step that changed something. Raises ServiceError at the first that fails."""
    for step in plan.steps:
        if _do(step, run):
            tell(str(step))


def _do(step: Step, run: Run) -> bool:
    """False where nothing was to be done."""
    if isinstance(step, RunCommand):
        return _run(step, run)
    try:
        if isinstance(step, WriteFile):
            return _write(step)
        if isinstance(step, MakeFolder):
            is_new = not step.path.is_dir()
            step.path.mkdir(mode=step.mode, parents=True, exist_ok=True)
            return is_new
        is_there = os.path.lexists(step.path)
        step.path.unlink(missing_ok=True)
        return is_there
    except OSError as error:
        raise ServiceError(f"Could not {step}: {error.strerror}. Check the permissions of its folder.") from error


def _write(step: WriteFile) -> bool:
    if step.path.is_file() and step.path.read_bytes() == step.content:
        return False
    step.path.parent.mkdir(parents=True, exist_ok=True)
    fresh = step.path.with_name(f".{step.path.name}.{os.getpid()}")
    fresh.write_bytes(step.content)
    fresh.chmod(step.mode)
    fresh.replace(step.path)
    return True


def _run(step: RunCommand, run: Run) -> bool:
    outcome = run(step.arguments)
    if outcome.exit_code and not step.may_fail:
        said = outcome.output.strip() or "it said nothing"
        hint = f" {step.hint}" if step.hint is not None else ""
        raise ServiceError(f"{' '.join(step.arguments)} ended with exit code {outcome.exit_code}: {said}{hint}")
    return outcome.exit_code == 0


def remove_own_files(folders: tuple[Path, ...], patterns: tuple[str, ...]) -> None:
    """Remove what slmreg has written into its folders, and those that are empty then. Nothing else is touched.

    Raises ServiceError for what cannot be removed.
    """
    for folder in folders:
        try:
            for pattern in patterns:
                for file in folder.glob(pattern):
                    if file.is_file() or file.is_symlink():
                        file.unlink()
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        except OSError as error:
            raise ServiceError(f"Could not remove {error.filename}: {error.strerror}.") from error
