"""Clients of the soak, and what comes of each request.

Invariant: every request is counted exactly once, under what came of it.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import httpx

from daemon.api.errors import STATUS

# Longer than any limit of the daemon would let a request wait.
TIMEOUT_S = 180.0
PAUSE_S = 0.15
MOST_WORDS = 60
WORDS = ("the", "machine", "reads", "all", "day", "and", "nobody", "knows", "what", "it", "has", "found", "in", "books")
KNOWN = {(error.code, status) for error, status in STATUS.items()}
# A bug of ours looks like this, whatever status it has.
OUR_FAULT = ("slmreg failed", "internal_error")


class Outcome(StrEnum):
    """What came of a request."""

    ANSWERED = "answered"
    STREAMED = "streamed to the end"
    LEFT = "left in the middle"
    REFUSED = "proper error"
    BROKEN_OFF = "error at the end of a stream"
    NO_ANSWER = "NO ANSWER"
    IMPROPER = "IMPROPER ERROR"
    CUT_OFF = "STREAM CUT OFF"


BAD = frozenset({Outcome.NO_ANSWER, Outcome.IMPROPER, Outcome.CUT_OFF})


class Tally:
    """Counts of all threads together; the first few of what must not happen are kept with their words."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[tuple[Outcome, str]] = Counter()
        self.troubles: Counter[str] = Counter()
        self.examples: list[str] = []

    def count(self, outcome: Outcome, what: str = "", *, example: str = "") -> None:
        """``what`` tells outcomes of one kind apart: the code of an error."""
        with self._lock:
            self.counts[outcome, what] += 1
            if outcome in BAD and len(self.examples) < 10:
                self.examples.append(f"{time.strftime('%H:%M:%S')} {outcome} {what} {example}"[:500])

    def trouble(self, kind: str) -> None:
        with self._lock:
            self.troubles[kind] += 1

    def of(self, outcome: Outcome) -> int:
        return sum(count for (each, _), count in self.counts.items() if each is outcome)


def ask_until(is_over: threading.Event, url: str, names: Sequence[str], chance: random.Random, tally: Tally) -> None:
    """One client: a request after the other."""
    with httpx.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S) as client:
        while not is_over.is_set():
            try:
                ask(client, _body(names, chance), chance, tally)
            except httpx.HTTPError as error:
                tally.count(Outcome.NO_ANSWER, type(error).__name__, example=str(error))
            is_over.wait(chance.random() * 2 * PAUSE_S)


def _body(names: Sequence[str], chance: random.Random) -> dict[str, Any]:
    models = [*names, *names, "auto", "auto", "auto:code", "auto:reasoning"]
    return {
        "model": chance.choice(models) if chance.random() < 0.98 else "nobody-knows-it",
        "messages": [{"role": "user", "content": " ".join(chance.choices(WORDS, k=chance.randint(1, MOST_WORDS)))}],
        "max_tokens": chance.randint(1, 80),
        "stream": chance.random() < 0.6,
        "n": chance.choice([1, 1, 1, 2]),
    }


def ask(client: httpx.Client, body: dict[str, Any], chance: random.Random, tally: Tally) -> None:
    """One request, counted. Raises httpx.HTTPError where there is no answer."""
    leaves = chance.random() < 0.15
    if body["stream"]:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if not response.is_success:
                response.read()
                _count_error(response, tally)
                return
            _follow(response.iter_lines(), chance.randint(1, 12) if leaves else None, tally)
        return
    timeout_s = chance.uniform(0.05, 0.5) if leaves else TIMEOUT_S
    try:
        response = client.post("/v1/chat/completions", json=body, timeout=timeout_s)
    except httpx.TimeoutException:
        if not leaves:
            raise
        tally.count(Outcome.LEFT, "while waiting")
        return
    if response.is_success and response.json()["choices"][0]["finish_reason"] is not None:
        tally.count(Outcome.ANSWERED)
    else:
        _count_error(response, tally)


def _follow(lines: Iterator[str], leave_after: int | None, tally: Tally) -> None:
    """``leave_after``: so many events, then the client goes."""
    seen = 0
    for line in lines:
        if not line.startswith("data: "):
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            tally.count(Outcome.STREAMED)
            return
        event = json.loads(data)
        if "error" in event:
            is_ours = _is_our_fault(event["error"])
            code = str(event["error"].get("code"))
            tally.count(Outcome.IMPROPER if is_ours else Outcome.BROKEN_OFF, code, example=data)
            return
        seen += 1
        if seen == leave_after:
            tally.count(Outcome.LEFT, "while reading")
            return
    tally.count(Outcome.CUT_OFF)


def _count_error(response: httpx.Response, tally: Tally) -> None:
    tally.count(*_judged(response), example=response.text)


def _judged(response: httpx.Response) -> tuple[Outcome, str]:
    """Whether it is an error of the kind that clients can count on, and which."""
    try:
        error = response.json()["error"]
        code = str(error["code"])
        is_proper = (code, response.status_code) in KNOWN and bool(error["message"]) and not _is_our_fault(error)
    except (ValueError, KeyError, TypeError):
        return Outcome.IMPROPER, str(response.status_code)
    return (Outcome.REFUSED if is_proper else Outcome.IMPROPER), f"{response.status_code} {code}"


def _is_our_fault(error: dict[str, Any]) -> bool:
    return str(error.get("code")) in OUR_FAULT or any(str(error.get("message")).startswith(f) for f in OUR_FAULT)
