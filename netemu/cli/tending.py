"""The commands that tend this machine: doctor, wipe, completion."""

from __future__ import annotations

import sys

import click

from netemu.cli.options import json_option

_BASH = """\
%(complete_func)s() {
    local IFS=$' \\t\\n' line=${COMP_LINE:0:COMP_POINT} words word response completion type value
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[-1]}
    response=$(COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete $1)
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain)
                [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && value=${value#"${word%%%%:*}:"}
                COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""Unlike click's own, it takes HOST:INTERFACE for one word, where bash sees three, and completes the last of them."""


@click.command(short_help="Try what labs need of this machine.")
@json_option
def doctor(as_json: bool) -> None:
    """Try what labs need of this machine, and say what installs what is missing."""
    from netemu.cli import machine

    sys.exit(machine.doctor(as_json))


@click.command(short_help="Remove what killed labs left behind.")
@click.option("--dry-run", is_flag=True, help="Only tell what is there.")
@json_option
def wipe(dry_run: bool, as_json: bool) -> None:
    """Remove what labs left whose processes were all killed: state folders, and names that lead nowhere.

    Only what is provably a dead lab's of this user is touched. Labs that are up are left alone. There is nothing else
    to remove: the kernel frees a lab's namespaces, interfaces and processes with the process that holds them.
    """
    from netemu.cli import machine

    machine.wipe_(dry_run, as_json)


@click.command(short_help="Print what makes a shell complete netemu.")
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, labs that are up, their hosts, and files.

    In ~/.bashrc or ~/.zshrc: eval "$(netemu completion bash)", or zsh. For fish:
    netemu completion fish > ~/.config/fish/completions/netemu.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    script = made(ctx.find_root().command, {}, "netemu", "_NETEMU_COMPLETE")
    template = _BASH if shell == "bash" else script.source_template
    click.echo(template % script.source_vars())  # its own source() runs the shell to see its version
