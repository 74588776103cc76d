"""completion: the script that makes a shell offer what can be typed next."""

from __future__ import annotations

import os
from typing import Any

import click
from click.shell_completion import (
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

PROGRAM = "slmreg"
# The shell sets it to ask; click looks for it before anything else is done.
COMPLETE_VARIABLE = "_SLMREG_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell")

# Bash takes a colon for the end of a word, and ids have one: the line is cut into words on our side, and what stands
# before the last colon is taken off what is offered.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\\n' kind value word tail
    word="${line##*[[:space:]]}"
    tail="${word##*:}"
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                if [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
                    value="${value:$((${#word} - ${#tail}))}"
                fi
                COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="$line" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""
_POWERSHELL = """\
Register-ArgumentCompleter -Native -CommandName %(prog_name)s -ScriptBlock {
    param($word, $commandLine, $position)
    $length = $position - $commandLine.Extent.StartOffset
    $typed = $commandLine.ToString().PadRight($length).Substring(0, $length)
    $before = $env:COMP_WORDS, $env:%(complete_var)s
    try {
        $env:COMP_WORDS = $typed
        $env:%(complete_var)s = 'powershell_complete'
        $offered = @(& %(prog_name)s 2>$null)
    } finally {
        $env:COMP_WORDS, $env:%(complete_var)s = $before
    }
    foreach ($line in $offered) {
        $kind, $value = $line -split "`t", 2
        if ($kind -eq 'plain') {
            $text = if ($value -match '[\\s''"]') { "'" + $value.Replace("'", "''") + "'" } else { $value }
            [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $value)
        } elseif ($kind) {
            [System.Management.Automation.CompletionCompleters]::CompleteFilename($word)
        }
    }
}
"""


class _Quiet(ShellComplete):
    """Offers nothing where something fails: a message would land in the line that is being typed."""

    def complete(self) -> str:
        try:
            return super().complete()
        except Exception:  # no registry, a damaged one, settings that make no sense, half a quotation
            return ""


class _OfLine(_Quiet):
    """For shells that hand over the line up to the cursor as it is."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type}\t{item.value}"


class _Bash(_OfLine):
    name = "bash"
    source_template = _BASH


class _PowerShell(_OfLine):
    name = "powershell"
    source_template = _POWERSHELL


class _Zsh(_Quiet, ZshComplete):
    pass


class _Fish(_Quiet, FishComplete):
    pass


for _shell in (_Bash, _PowerShell, _Zsh, _Fish):
    add_completion_class(_shell)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, models and tasks in SHELL.

    \b
    bash, in ~/.bashrc:      eval "$(slmreg completion bash)"
    zsh, in ~/.zshrc:        eval "$(slmreg completion zsh)"
    fish, once:              slmreg completion fish > ~/.config/fish/completions/slmreg.fish
    PowerShell, in $PROFILE: slmreg completion powershell | Out-String | Invoke-Expression

    \b
    Example: slmreg completion bash
    """
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ctx.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE).source(), nl=False)


COMMANDS = (completion,)
