"""The commands that take a topology: up, run, graph, validate, schema."""

from __future__ import annotations

import sys
from typing import Literal

import click

from netemu.cli.options import (
    all_option,
    anything,
    backend_option,
    json_option,
    name_option,
    topologies,
    topology_argument,
)


@click.command(short_help="Build LAB, show its packets' walks and the verdict, leave it up.")
@topology_argument
@name_option
@backend_option
@json_option
@all_option
def up(lab: str, name: str | None, backend: Literal["nft", "legacy"] | None, as_json: bool, unfold: bool) -> None:
    """Build LAB, send its traffic, show each packet's walk and the verdict; leave it up."""
    _be_able()
    from netemu.cli import labs

    sys.exit(labs.up(lab, name, backend, as_json, unfold))


@click.command(short_help="The same, and take it down again.")
@topology_argument
@name_option
@backend_option
@json_option
@all_option
def run(lab: str, name: str | None, backend: Literal["nft", "legacy"] | None, as_json: bool, unfold: bool) -> None:
    """Do what up does, and take the lab down again."""
    _be_able()
    from netemu.cli import labs

    sys.exit(labs.run(lab, name, backend, as_json, unfold))


@click.command(short_help="Draw a topology, or a lab that is up.")
@click.argument("lab", shell_complete=anything)
@click.option("--mermaid", "style", flag_value="mermaid", help="As a Mermaid flowchart, for Markdown.")
@click.option("--dot", "style", flag_value="dot", help="As Graphviz DOT.")
@click.option("--json", "style", flag_value="json", help="As JSON: nodes and edges.")
def graph(lab: str, style: str | None) -> None:
    """Draw LAB: a lab that is up, a topology file, or a topology that comes with netemu."""
    from netemu.cli import drawing

    drawing.graph(lab, style or "terminal")


@click.command(short_help="Say whether FILE can be built.")
@click.argument("file", shell_complete=topologies)
@json_option
def validate(file: str, as_json: bool) -> None:
    """Say whether FILE can be built, and what is wrong with it if not.

    FILE may also be the name of a topology that comes with netemu.
    """
    from netemu.cli import files

    sys.exit(files.validate(file, as_json))


@click.command()
def schema() -> None:
    """Print the topology file's JSON Schema."""
    from netemu.cli import files

    files.schema()


def _be_able() -> None:
    """Without root, make labs in a user namespace: entered before anything starts a thread."""
    from netemu import enter_user_namespace

    enter_user_namespace()
