"""status, ps, load, unload: what the running daemon does."""

from __future__ import annotations

import click

from daemon.cli.backend import HttpBackend, Json, home_paths
from daemon.cli.daemon_link import find_daemon, require_daemon
from daemon.cli.output import gigabytes, print_json, print_table, say


def _daemon() -> HttpBackend:
    return HttpBackend(require_daemon(home_paths().run_file).url)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say whether the daemon runs, and where. Exit code 1 if it does not.

    \b
    Example: slmreg status --json
    """
    running = find_daemon(home_paths().run_file)
    if running is None:
        nothing = {
            "running": False,
            "pid": None,
            "url": None,
            "version": None,
            "models": 0,
            "sessions": 0,
            "uptime_s": 0,
        }
        print_json(nothing) if as_json else say("No slmreg daemon is running. Start it with `slmreg serve`.")
        ctx.exit(1)
    with HttpBackend(running.url) as backend:
        facts = {**backend.status(), "url": running.url}
    if as_json:
        print_json(facts)
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
    """List the loaded models.

    \b
    Example: slmreg ps
    """
    with _daemon() as backend:
        sessions = backend.sessions()
    if as_json:
        print_json(sessions)
        return
    columns = ("ID", "STATE", "DEVICE", "MEMORY", "CONTEXT", "THREADS", "ACTIVE", "QUEUED", "IDLE", "PID")
    rows = (
        (
            s["id"],
            s["state"],
            s["device"],
            gigabytes(s["resident_bytes"]),
            str(s["context_tokens"]),
            str(s["threads"]),
            str(s["active"]),
            str(s["queued"]),
            f"{s['idle_s']:.0f} s",
            str(s["pid"] or "-"),
        )
        for s in sessions
    )
    print_table(columns, rows, right=columns[3:])
    for session in sessions:
        if session["failure"]:
            say(f"{session['id']}: {session['failure']}")


@click.command()
@click.argument("model")
@click.option("--force", is_flag=True, help="Load it although the estimate says that it does not fit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def load(model: str, force: bool, as_json: bool) -> None:
    """Load MODEL ahead of the first request.

    \b
    Example: slmreg load phi-4-mini
    """
    with _daemon() as backend:
        session = backend.load(model, force=force)
    if session["warning"] is not None:
        say(f"Warning: {session['warning']}")
    print_json(session) if as_json else say(f"{session['id']} is {session['state']} (pid {session['pid']}).")


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def unload(model: str, as_json: bool) -> None:
    """Unload MODEL when its answers are done.

    Unloading what is not loaded is fine.

    \b
    Example: slmreg unload phi-4-mini
    """
    with _daemon() as backend:
        result = backend.unload(model)
    if as_json:
        print_json(result)
    else:
        say(f"{result['id']} {'is unloaded' if result['unloaded'] else 'was not loaded'}.")


COMMANDS = (status, ps, load, unload)
