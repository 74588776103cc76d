"""What has to be true of a soak, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.soak.clients import BAD, Outcome, Tally
from benchmarks.soak.readings import Readings, second_and_last_fifth

MOST_GROWTH = 0.05
# The pipes of one worker: how many run at a moment differs.
MORE_FILES = 3
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """``is_fine`` None: a figure that says nothing about right and wrong."""

    words: str
    is_right: bool | None = None

    @property
    def is_fine(self) -> bool:
        return self.is_right is not False

    def __str__(self) -> str:
        mark = {None: "      ", True: "ok    ", False: "FAILED"}[self.is_right]
        return f"{mark} {self.words}"


def verdicts(tally: Tally, readings: Readings, *, exit_code: int, left: Sequence[str]) -> list[Verdict]:
    """The counts, then the judgements."""
    bad = sum(tally.of(outcome) for outcome in BAD)
    answered = tally.of(Outcome.ANSWERED) + tally.of(Outcome.STREAMED)
    every = sum(tally.counts.values())
    return [
        *(Verdict(_line(outcome, tally)) for outcome in Outcome if tally.of(outcome)),
        Verdict(f"trouble: {', '.join(f'{kind} {count}' for kind, count in sorted(tally.troubles.items()))}"),
        *(Verdict(example) for example in tally.examples),
        Verdict(f"{every} requests, {bad} without an answer or a proper error", bad == 0),
        Verdict(f"{answered / max(1, every):.0%} were answered to the end (at least half)", answered >= every / 2),
        _memory(readings.resident_bytes),
        _files(readings.open_files),
        Verdict(f"{len(left)} processes left behind {' '.join(left)}".rstrip(), not left),
        Verdict(f"exit code {exit_code} after SIGTERM", exit_code == 0),
    ]


def _line(outcome: Outcome, tally: Tally) -> str:
    kinds = [(count, what) for (each, what), count in tally.counts.items() if each is outcome and what]
    rest = f" ({', '.join(f'{what}: {count}' for count, what in sorted(kinds, reverse=True))})" if kinds else ""
    return f"{outcome}: {tally.of(outcome)}{rest}"


def _memory(resident_bytes: list[int]) -> Verdict:
    before, after = second_and_last_fifth(resident_bytes)
    growth = after / before - 1
    words = f"daemon's memory {before / MEGABYTE:.1f} -> {after / MEGABYTE:.1f} MB, {growth:+.1%} (limit +5%)"
    return Verdict(words, growth <= MOST_GROWTH)


def _files(open_files: list[int]) -> Verdict:
    before, after = second_and_last_fifth(open_files)
    return Verdict(f"daemon's open files {before:.0f} -> {after:.0f}", after <= before + MORE_FILES)
