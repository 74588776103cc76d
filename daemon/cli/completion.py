"""completion: the script that makes a shell offer what can be typed next."""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

PROGRAM = "slmreg"
# The shell sets it to ask; click looks for it before anything else is done.
COMPLETE_VARIABLE = "_SLMREG_COMPLETE"
# Tells a word that was not begun yet from one that ends with a space.
_CURSOR = "\0"
# Of a variable, in front of a command.
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
SHELLS = ("bash", "zsh", "fish", "powershell")

# Bash takes a colon or = for the end of a word that is not quoted, and puts back itself what stands before it.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" breaks="$COMP_WORDBREAKS" kind value
    [[ "${COMP_WORDS[COMP_CWORD]}" == [\\"\\']* ]] && breaks=
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ -n "$breaks" ]] && printf -v value %%q "$value"
                COMPREPLY+=("$value") ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_WORDBREAKS="$breaks" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""
# -U: what is offered may differ in case from what was typed.
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line="${words[1,CURRENT-1]} $QIPREFIX$PREFIX" kind value help
    local -a plain described folders files
    while IFS=$'\\t' read -r kind value help; do
        case "$kind" in
            dir) folders=(-/) ;;
            file) files=(-f) ;;
            plain) [[ -n "$help" ]] && described+=("${value//:/\\\\:}:$help") || plain+=("$value") ;;
        esac
    done < <(env COMP_WORDS="$line" %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
    if (( $#folders + $#files )); then
        compset -P '-*='
        _path_files $folders $files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
_FISH = """\
function %(complete_func)s
    set -l line (commandline -cp | string collect)
    set -l word (commandline -ct)
    set -l option (string match -r -- '^-[^=]*=' "$word")
    set -l typed (string replace -r -- '^-[^=]*=' '' "$word")
    for offered in (env COMP_WORDS="$line" %(complete_var)s=fish_complete %(prog_name)s 2>/dev/null)
        set -l fields (string split -m 2 \\t -- $offered)
        switch $fields[1]
            case dir
                __fish_complete_directories "$typed" | string replace -r -- '^' "$option"
            case file
                __fish_complete_path "$typed" | string replace -r -- '^' "$option"
            case plain
                string join -- \\t $fields[2..-1]
        end
    end
end
complete --no-files --keep-order --command %(prog_name)s --arguments "(%(complete_func)s)"
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


class _OfLine(ShellComplete):
    """Takes the line up to the cursor as it is, and offers whole words.

    Where something fails nothing is offered: a message would land in the line that is being typed.
    """

    def complete(self) -> str:
        try:
            return super().complete()
        except Exception:  # no registry, a damaged one, settings that make no sense, half a quotation
            return ""

    def get_completion_args(self) -> tuple[list[str], str]:
        *words, typed = split_arg_string(os.environ["COMP_WORDS"] + _CURSOR)
        program = next((at for at, word in enumerate(words) if not _ASSIGNMENT.match(word)), 0)
        return words[program + 1 :], typed.removesuffix(_CURSOR)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """Behind ``--option=`` as well, where click offers the value alone."""
        offered = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if not equals or not option.startswith("-"):
            return offered
        return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in offered]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type}\t{item.value}"


class _Described(_OfLine):
    """For shells that show what an option or a command is for."""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return "\t".join((item.type, item.value, *filter(None, [" ".join((item.help or "").split())])))


class _Bash(_OfLine):
    name = "bash"
    source_template = _BASH

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """Without what stands before the last character that bash takes for the end of a word."""
        start = max((incomplete.rfind(each) for each in os.environ.get("COMP_WORDBREAKS", "").strip()), default=-1) + 1
        offered = super().get_completions(args, incomplete)
        return [CompletionItem(item.value[start:], item.type, item.help) for item in offered]


class _PowerShell(_OfLine):
    name = "powershell"
    source_template = _POWERSHELL


class _Zsh(_Described):
    name = "zsh"
    source_template = _ZSH


class _Fish(_Described):
    name = "fish"
    source_template = _FISH


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
