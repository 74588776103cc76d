"""What goes wrong, and what people do, while the clients of the soak ask."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.soak.clients import KNOWN, Outcome, Tally

VISITOR = "visitor"
LONGEST_PAUSE_S = 1.5
TIMEOUT_S = 60.0
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV)


class Trouble:
    """``home`` is where the daemon's models lie, under ``models``, and the visitor's two versions, under ``aside``."""

    def __init__(self, url: str, home: Path, chance: random.Random, tally: Tally, names: Sequence[str]) -> None:
        self._url = url
        self._home = home
        self._chance = chance
        self._tally = tally
        self._names = names
        self._acts = {
            self._kill: 6,
            self._bring: 3,
            self._remove: 1,
            self._pin: 2,
            self._unpin: 2,
            self._unload: 3,
            self._unload_now: 1,
            self._load: 2,
        }

    def make_until(self, is_over: threading.Event) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=TIMEOUT_S) as client:
            while not is_over.wait(self._chance.uniform(0.2, LONGEST_PAUSE_S)):
                (act,) = self._chance.choices(list(self._acts), weights=list(self._acts.values()))
                try:
                    act(client)
                except httpx.HTTPError as error:
                    self._tally.count(Outcome.NO_ANSWER, f"{act.__name__} {type(error).__name__}", example=str(error))

    def _kill(self, client: httpx.Client) -> None:
        pids = [session["pid"] for session in client.get("/slmreg/sessions").json() if session["pid"]]
        if pids:
            which = self._chance.choice(SIGNALS)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._chance.choice(pids), which)
            self._tally.trouble(which.name)

    def _bring(self, client: httpx.Client) -> None:
        """A new model, or another one in the place of the one that is there, in the order a file browser would take."""
        there = self._home / "models" / VISITOR
        self._tally.trouble("folder replaced" if there.exists() else "folder copied in")
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(self._home / "aside" / f"{VISITOR}-{self._chance.randrange(2)}", there)

    def _remove(self, client: httpx.Client) -> None:
        shutil.rmtree(self._home / "models" / VISITOR, ignore_errors=True)
        self._tally.trouble("folder deleted")

    def _pin(self, client: httpx.Client) -> None:
        fallback = self._chance.choice(["auto", "error"])
        body = {"task": "chat", "model": self._chance.choice(self._names), "fallback": fallback}
        self._checked("pin", client.post("/slmreg/pins", json=body))

    def _unpin(self, client: httpx.Client) -> None:
        self._checked("unpin", client.delete("/slmreg/pins/chat"))

    def _unload(self, client: httpx.Client) -> None:
        self._checked("unload", client.post("/slmreg/unload", json={"model": self._chance.choice(self._names)}))

    def _unload_now(self, client: httpx.Client) -> None:
        body = {"model": self._chance.choice(self._names), "now": True}
        self._checked("unload --now", client.post("/slmreg/unload", json=body))

    def _load(self, client: httpx.Client) -> None:
        self._checked("load", client.post("/slmreg/load", json={"model": self._chance.choice(self._names)}))

    def _checked(self, kind: str, response: httpx.Response) -> None:
        """People, too, are to get an answer or a proper error."""
        self._tally.trouble(kind)
        if response.is_success:
            return
        code = response.json()["error"]["code"]
        if (code, response.status_code) not in KNOWN:
            self._tally.count(Outcome.IMPROPER, f"{kind} {response.status_code} {code}", example=response.text)
