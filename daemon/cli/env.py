"""env: what makes other programs ask slmreg, as variables for a shell."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePath

import click

from daemon.cli.daemon_link import RunningDaemon, url_at
from daemon.cli.discovery import find_any
from daemon.cli.output import print_json, say
from daemon.paths import home_paths
from registry.errors import SettingsError

# For clients that insist on a key where the daemon wants none.
NO_KEY = "none"
# PowerShell takes typographic quotes for plain ones.
_POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"


def variables(url: str, *, needs_key: bool) -> dict[str, str]:
    """By name. A key that is needed is not among them: only its owner has it."""
    addresses = {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",  # read by older clients
        "ANTHROPIC_BASE_URL": url,
        "OLLAMA_HOST": url,
    }
    keys = {} if needs_key else {"OPENAI_API_KEY": NO_KEY, "ANTHROPIC_API_KEY": NO_KEY}
    return {**addresses, **keys}


def _posix(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    return f"$Env:{name} = '{''.join(c * 2 if c in _POWERSHELL_QUOTES else c for c in value)}'"


def _cmd(name: str, value: str) -> str:
    return f'set "{name}={value}"'


SHELLS: Mapping[str, Callable[[str, str], str]] = {
    "bash": _posix,
    "zsh": _posix,
    "fish": _fish,
    "powershell": _powershell,
    "cmd": _cmd,
}


@click.command()
@click.option("--shell", type=click.Choice(list(SHELLS)), help="For this shell [default: yours].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def env(shell: str | None, as_json: bool) -> None:
    """Print variables that make OpenAI's, Anthropic's and Ollama's clients ask slmreg.

    bash, zsh: eval "$(slmreg env)"; fish: slmreg env | source; PowerShell: slmreg env | Out-String | Invoke-Expression.

    \b
    Example: slmreg env --shell fish
    """
    found = find_any()
    url = found.running.url if found is not None else _configured_url()
    needs_key = _asks_for_key(found.running) if found is not None else _will_ask_for_key()
    said = variables(url, needs_key=needs_key)
    if as_json:
        print_json(said)
    else:
        line = SHELLS[shell or shell_of(os.environ, os.name)]
        click.echo("\n".join(line(name, value) for name, value in said.items()))
    if found is None:
        say("No slmreg daemon is running: this is where `slmreg serve` would.")
    if needs_key:
        say("It wants a key: `slmreg key create NAME` makes one, for OPENAI_API_KEY and ANTHROPIC_API_KEY.")


def shell_of(environment: Mapping[str, str], os_name: str) -> str:
    """The shell of this environment; what it does not tell is the usual one of the system."""
    login_shell = PurePath(environment.get("SHELL", "")).name
    if login_shell in SHELLS:
        return login_shell
    return "powershell" if os_name == "nt" else "bash"


def _asks_for_key(running: RunningDaemon) -> bool:
    import httpx

    try:
        return httpx.get(f"{running.url}/v1/models", trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    except httpx.HTTPError:
        return False


def _configured_url() -> str:
    """Raises SettingsError where any free port would be taken."""
    from daemon.config.layers import load_settings

    settings = load_settings(home_paths())
    if not settings.port:
        raise SettingsError("No daemon is running, and with the port 0 nobody knows where it would. Start it first.")
    return url_at(settings.host, settings.port)


def _will_ask_for_key() -> bool:
    from daemon.config.layers import load_settings
    from registry.store import Registry

    paths = home_paths()
    settings = load_settings(paths)
    if settings.require_key or settings.is_public or not paths.database.exists():
        return settings.require_key or settings.is_public
    with Registry.open(paths.database) as registry:
        return bool(registry.api_keys())


COMMANDS = (env,)
