"""graph: which topology is meant, and in which style it is drawn."""

from __future__ import annotations

import json

import click

from netemu import HeldLab, NetemuError, StoppedError, Topology, labs_up
from netemu.cli.diagram import STYLES
from netemu.cli.given import given, is_text
from netemu.cli.shape import plain, shape


def graph(lab: str, style: str) -> None:
    """Draw a lab that is up, a topology file, or a shipped topology."""
    drawn = shape(meant(lab))
    if style == "json":
        click.echo(json.dumps(plain(drawn)))
    elif style in STYLES:
        click.echo("\n".join(STYLES[style](drawn)))
    else:
        from netemu.cli.console import console, printed
        from netemu.cli.tree import tree

        screen = console()
        screen.print(f"{drawn.name}   {drawn.description}".rstrip(), style="bold")
        screen.print()
        for line in tree(drawn):
            screen.print(line)
        click.echo(printed(screen), nl=False)


def meant(lab: str) -> Topology:
    """A bare name is a lab that is up, if there is one that this user can see; else a shipped topology."""
    if not is_text(lab):
        try:
            if lab in labs_up():
                return HeldLab(lab).topology()
        except StoppedError:
            raise
        except NetemuError:
            pass  # another user's, or going down
    return given(lab)[0]
