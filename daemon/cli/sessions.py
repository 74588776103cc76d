"""status, ps, load, unload: what the running daemon does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from daemon.cli.backend import HttpBackend, Json
from daemon.cli.completing import complete_models
from daemon.cli.daemon_link import require_daemon
from daemon.cli.discovery import find_any
from daemon.cli.output import gigabytes, print_json, print_table, say, whole_time
from daemon.paths import home_paths

_WORDS = ("ID", "STATE", "DEVICE", "ENGINE")
_FIGURES = ("MEMORY", "KV", "CONTEXT", "THREADS", "ACTIVE", "QUEUED", "UNTIL", "PID")
_NOTHING = {"running": False, "pid": None, "url": None, "version": None, "models": 0, "sessions": 0, "uptime_s": 0}


def _daemon() -> HttpBackend:
    return HttpBackend(require_daemon(home_paths().run_file))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say whether the daemon runs, and where. Exit code 1 if it does not.

    \b
    Example: slmreg status --json
    """
    found = find_any()
    if found is None:
        print_json(_NOTHING) if as_json else say("No slmreg daemon is running. Start it with `slmreg serve`.")
        ctx.exit(1)
    if found.whose is not None:
        say(f"No daemon of this home runs; this one is {found.whose}, and other commands do not ask it.")
    known = found.facts or {"running": True, "pid": found.running.pid or None}
    facts = {**_NOTHING, **known, "url": found.running.url}
    if as_json:
        print_json(facts)
    elif found.facts is None:
        click.echo(f"running at {found.running.url}; it wants an API key to say more")
    else:
        _print_status(facts)


def _print_status(facts: Json) -> None:
    click.echo(
        f"running at {facts['url']} (pid {facts['pid']}, version {facts['version']}): {facts['models']} models, "
        f"{facts['sessions']} sessions, up {facts['uptime_s']:.0f} s"
    )
    scan = facts["last_scan"]
    if scan is not None:
        click.echo(f"last looked through everything at {scan['at']}, in {scan['seconds']:.2f} s")
    for state in facts["watching"]:
        if state["method"] != "native":
            click.echo(f"{state['method']}: {state['path']}" + (f" ({state['reason']})" if state["reason"] else ""))
    if (recovered := facts["recovered"]) is not None:
        restored = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in recovered["restored"].items())
        kept = f" The damaged file is kept as {recovered['kept']}." if recovered["kept"] else ""
        say(f"The registry was damaged ({recovered['reason']}) and made anew; restored: {restored}.{kept}")
    if facts["problems"]:
        say(f"{facts['problems']} folders are not usable models; `slmreg list` says why.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(as_json: bool) -> None:
    """List the loaded models, and those that requests wait for.

    \b
    Example: slmreg ps
    """
    with _daemon() as backend:
        sessions = backend.sessions()
    if as_json:
        print_json(sessions)
        return
    print_table((*_WORDS, *_FIGURES), map(_row, sessions), right=_FIGURES)
    for line in _engine_lines(sessions):
        click.echo(line)
    for line in _failure_lines(sessions):
        say(line)


def _engine_lines(sessions: Iterable[Json]) -> Iterator[str]:
    """What its key-value cache is made of, and why its requests do not run in batches."""
    for session in sessions:
        if session["row_bytes"] or session["kept_bytes"]:
            rows, kept = session["row_bytes"], session["kept_bytes"]
            used = ", ".join(map(gigabytes, rows)) or "none"
            places = f"{len(rows)} of {session['max_concurrent']}"
            room = f"{session['reserved_tokens']} of {session['cache_tokens']} tokens reserved"
            total = gigabytes(sum(kept))
            yield f"{session['id']}: KV of rows in use ({places}): {used}; of {len(kept)} kept: {total}; {room}"
        if session["engine_reason"] is not None:
            yield f"{session['id']}: {session['engine']}, not batched: {session['engine_reason']}"


def _failure_lines(sessions: Iterable[Json]) -> Iterator[str]:
    for session in sessions:
        if (failure := session["failure"]) is not None:
            again = f" (retry in {whole_time(failure['retry_s'])})" if failure["retry_s"] else ""
            yield f"{session['id']}: {failure['message']}{again}"


def _row(session: Json) -> tuple[str, ...]:
    is_waited_for = session["state"] == "unloaded"  # such a session is only shown for those who wait for its turn
    return (
        session["id"],
        "waiting" if is_waited_for else session["state"],
        session["device"],
        session["engine"] or "-",
        gigabytes(session["resident_bytes"]),
        "-" if session["kv_bytes"] is None else gigabytes(session["kv_bytes"]),
        str(session["context_tokens"]),
        str(session["threads"]),
        f"{session['active']}/{session['max_concurrent']}",
        str(session["queued"]),
        _until(session),
        str(session["pid"] or "-"),
    )


def _until(session: Json) -> str:
    """How long it stays loaded."""
    if session["state"] != "ready":
        return "-"
    if session["pinned"]:
        return "never"
    if session["active"] or session["queued"]:
        return "in use"
    return f"in {whole_time(session['expires_s'])}" if session["expires_s"] is not None else "never"


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--force", is_flag=True, help="Load it although the estimate says that it does not fit.")
@click.option("--pin-loaded", is_flag=True, help="Keep it in memory until it is unloaded, whatever else needs room.")
@click.option("--keep-alive", metavar="TIME", help='How long it stays unused: "5m", 300, 0, -1 (for ever).')
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def load(model: str, force: bool, pin_loaded: bool, keep_alive: str | None, as_json: bool) -> None:
    """Load MODEL ahead of the first request.

    \b
    Example: slmreg load phi-4-mini --keep-alive 1h
    """
    _check_stay(pin_loaded, keep_alive)
    with _daemon() as backend:
        session = backend.load(model, force=force, pin_loaded=pin_loaded, keep_alive=keep_alive)
    if session["warning"] is not None:
        say(f"Warning: {session['warning']}")
    print_json(session) if as_json else say(f"{session['id']} is {session['state']} (pid {session['pid']}).")


def _check_stay(pin_loaded: bool, keep_alive: str | None) -> None:
    if keep_alive is None:
        return
    if pin_loaded:
        raise click.UsageError("What is pinned in memory stays: leave out --keep-alive or --pin-loaded.")
    from daemon.durations import as_keep_alive

    try:
        as_keep_alive(keep_alive)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--keep-alive") from error


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--now", is_flag=True, help="Break off running answers instead of waiting for their ends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def unload(model: str, now: bool, as_json: bool) -> None:
    """Unload MODEL when its answers are done.

    Unloading what is not loaded is fine.

    \b
    Example: slmreg unload phi-4-mini
    """
    with _daemon() as backend:
        result = backend.unload(model, now=now)
    if as_json:
        print_json(result)
    else:
        say(f"{result['id']} {'is unloaded' if result['unloaded'] else 'was not loaded'}.")


COMMANDS = (status, ps, load, unload)
