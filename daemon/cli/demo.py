"""demo: the main job, from nothing to an answer, in a throw-away home."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.backend import HttpBackend
from daemon.cli.background import BackgroundDaemon, start_daemon, stop_daemon
from daemon.cli.daemon_link import RunningDaemon
from daemon.cli.openai_stream import StreamedAnswer
from daemon.cli.output import gigabytes
from registry.errors import SlmregError
from registry.model import Task

if TYPE_CHECKING:
    from rich.console import Console

QUESTION = "What is slmreg?"
NOTICE_TIMEOUT_S = 15.0
POLL_S = 0.05


class DemoFailed(SlmregError):
    """A step of the demo did not do what it should."""

    code = "demo_failed"


@click.command()
@click.option("--keep", is_flag=True, help="Leave the daemon running and the files in place at the end.")
def demo(keep: bool) -> None:
    """See the whole job in a few seconds.

    Find, select, load, answer, notice a new model, pin - in a throw-away home; nothing is left behind.

    \b
    Example: slmreg demo
    """
    from rich.console import Console

    console = Console(highlight=False)
    home = Path(tempfile.mkdtemp(prefix="slmreg-demo-")).resolve()
    started_s = time.monotonic()
    is_done = False
    daemon: BackgroundDaemon | None = None
    try:
        steps = _Demo(console, home)
        steps.prepare()
        daemon = start_daemon(steps.environment(), home / "daemon.log")
        steps.run(daemon.running)
        is_done = True
    finally:
        if not (keep and is_done):
            if daemon is not None:
                stop_daemon(daemon.process)
            shutil.rmtree(home, ignore_errors=True)
    console.print(f"\n[bold green]Every step worked[/] in {time.monotonic() - started_s:.1f} s.")
    if keep and daemon is not None:
        _explain_keep(console, home, daemon)
    else:
        console.print("The daemon is stopped and its files are gone: nothing is left behind.")


class _Demo:
    """The steps, each of which raises DemoFailed if it did not really work."""

    def __init__(self, console: Console, home: Path) -> None:
        self._console = console
        self._home = home
        self._foundry = home / "foundry-cache"
        self._models = home / "my-models"
        self._step = 0

    def environment(self) -> dict[str, str]:
        """Sees the throw-away home only, whatever is on this machine or set in this shell."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SLMREG_")}
        here = {"SLMREG_HOME": self._home, "SLMREG_FOUNDRY_CACHES": self._foundry, "SLMREG_HF_CACHE": self._home / "hf"}
        return {**kept, **{key: str(value) for key, value in here.items()}, "SLMREG_SETTLE_S": "0.5"}

    def prepare(self) -> None:
        """A Foundry-style cache and a folder of converted models, both with copies of the shipped demo model."""
        self._title("Some models on a disk: a Foundry Local cache, and a folder of converted models")
        self._copy(self._foundry / "Microsoft" / "demo-chat-generic-cpu-1" / "v1", "demo-chat-generic-cpu:1")
        self._copy(self._models / "my-finetune", None)
        self._models.joinpath("unfinished").mkdir()
        self._models.joinpath("unfinished", "genai_config.json").write_text("{", encoding="utf-8")
        from registry.store import Registry

        with Registry.open(self._home / "registry.db") as registry:
            registry.add_root(self._models)
        self._say(f"[dim]{self._home}[/]")

    def run(self, daemon: RunningDaemon) -> None:
        with HttpBackend(daemon) as backend:
            self._title(f"The daemon runs at {daemon.url} and has indexed them, in place")
            self._list(backend)
            chosen = self._select(backend)
            self._ask(backend, daemon, chosen)
            dropped = self._drop(backend)
            self._pin(backend, daemon, dropped)
            self._ps(backend, dropped, gone=chosen)

    def _list(self, backend: HttpBackend) -> None:
        models = backend.models()
        for model in models:
            kind = "[yellow]ships with slmreg[/]" if model["demo"] else model["source"]
            self._say(f"[cyan]{model['id']:32}[/] {model['precision']:5} {gigabytes(model['size_bytes']):>7}  {kind}")
        problems = backend.problems()
        for problem in problems:
            self._say(f"[red]{Path(problem['path']).name}[/]: {_plain(problem['message'])}")
        ids = {model["id"] for model in models}
        self._check({"demo-chat-generic-cpu:1", "my-finetune:0"} <= ids, f"indexed only {sorted(ids)}")
        self._check(len(problems) == 1, "the broken folder was not reported")

    def _select(self, backend: HttpBackend) -> str:
        self._title("Which one is best for chat on this machine?  (slmreg select chat)")
        selection = backend.select(Task.CHAT)
        self._say(f"[bold green]{selection['chosen']}[/]")
        self._say(_plain(selection["reason"]))
        for rejected in selection["rejected"]:
            self._say(f"[dim]not {rejected['id']}: {_plain(rejected['message'])}[/]")
        self._check(selection["chosen"] is not None, "nothing was chosen")
        return str(selection["chosen"])

    def _ask(self, backend: HttpBackend, daemon: RunningDaemon, expected: str) -> None:
        self._title('An app asks "auto" through the OpenAI endpoint: the best model is loaded already, and answers')
        self._wait(lambda: self._is_loaded(backend, expected), f"{expected} was not loaded by itself")
        self._say(f"[dim]POST {daemon.url}/v1/chat/completions  model=auto  {QUESTION!r}[/]")
        started_s = time.monotonic()
        answer = StreamedAnswer(daemon, {"model": "auto", "messages": [{"role": "user", "content": QUESTION}]})
        first_s = None
        self._console.print("  ", end="")
        for piece in answer:
            first_s = first_s or time.monotonic() - started_s
            self._console.print(piece, end="", style="bold", markup=False)
        self._console.print()
        self._check(first_s is not None and answer.finish_reason == "stop", "the answer did not end by itself")
        self._check(answer.model == expected, f"{answer.model} answered, not {expected}")
        tokens = answer.usage["completion_tokens"]
        self._say(f"[dim]{answer.model}: {tokens} tokens, the first after {first_s:.2f} s[/]")

    def _drop(self, backend: HttpBackend) -> str:
        self._title("One more model is copied into the folder: the daemon notices by itself")
        self._copy(self._models / "new-arrival", None)
        copied_s = time.monotonic()
        model_id = "new-arrival:0"
        self._wait(lambda: self._is_ranked(backend, model_id), f"{model_id} was not noticed")
        self._say(f"[cyan]{model_id}[/] can be selected {time.monotonic() - copied_s:.1f} s after the copy")
        return model_id

    def _pin(self, backend: HttpBackend, daemon: RunningDaemon, model_id: str) -> None:
        self._title(f"People decide: slmreg pin chat {model_id}")
        backend.pin(Task.CHAT, model_id)
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}
        answer = StreamedAnswer(daemon, body)
        text = "".join(answer)
        self._check(answer.model == model_id, f"{answer.model} answered in spite of the pin")
        self._say(f"[dim]auto is now[/] [bold green]{answer.model}[/][dim]:[/]")
        self._console.print(f"  {text}", style="bold", markup=False)

    def _ps(self, backend: HttpBackend, expected: str, *, gone: str) -> None:
        self._title("It has taken over, and the other one is unloaded  (slmreg ps)")
        self._wait(lambda: not self._is_loaded(backend, gone), f"{gone} is still loaded")
        sessions = backend.sessions()
        for session in sessions:
            memory, state = gigabytes(session["resident_bytes"]), session["state"]
            self._say(
                f"[cyan]{session['id']:32}[/] {state}  {memory}  pid {session['pid']}  {session['threads']} threads"
            )
        self._check(expected in {session["id"] for session in sessions}, f"{expected} is not loaded")

    def _wait(self, is_so: Callable[[], bool], otherwise: str) -> None:
        started_s = time.monotonic()
        while not is_so():
            self._check(time.monotonic() - started_s < NOTICE_TIMEOUT_S, otherwise)
            time.sleep(POLL_S)

    def _is_loaded(self, backend: HttpBackend, model_id: str) -> bool:
        return any(s["id"] == model_id and s["state"] == "ready" for s in backend.sessions())

    def _is_ranked(self, backend: HttpBackend, model_id: str) -> bool:
        return any(candidate["id"] == model_id for candidate in backend.select(Task.CHAT)["ranking"])

    def _copy(self, folder: Path, name: str | None) -> None:
        """The shipped model under another id; without a name the folder's own counts, as for a converted model."""
        from registry.sources import DEMO_ROOT

        shutil.copytree(DEMO_ROOT, folder, ignore=shutil.ignore_patterns("inference_model.json"))
        if name is not None:
            text = json.dumps({"Name": name, "PromptTemplate": None})
            folder.joinpath("inference_model.json").write_text(text, encoding="utf-8")

    def _title(self, text: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold blue]{self._step}[/] [bold]{text}[/]", soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", soft_wrap=True)

    @staticmethod
    def _check(is_true: bool, otherwise: str) -> None:
        if not is_true:
            raise DemoFailed(f"The demo failed: {otherwise}.")


def _explain_keep(console: Console, home: Path, daemon: BackgroundDaemon) -> None:
    pid = daemon.process.pid
    console.print(f"The daemon keeps running at [bold]{daemon.url}[/] (pid {pid}); its files are in {home}.")
    console.print(f"Try:  SLMREG_HOME={home} slmreg list", soft_wrap=True)
    console.print(f"End:  kill {pid} && rm -r {home}", soft_wrap=True)


def _plain(text: str) -> str:
    """With every bracket as it stands, where others are marks of colour."""
    from rich.markup import escape  # 3 MB, which the daemon would hold as well

    return escape(text)


COMMANDS = (demo,)
