"""The commands that take or make a topology or a record: up, run, check, export, graph, generate, validate, schema."""

from __future__ import annotations

import sys
from typing import Literal

import click

from netemu.cli.options import (
    all_option,
    anything,
    backend_option,
    json_option,
    link_options,
    name_option,
    record_option,
    topologies,
    topology_argument,
)
from netemu.cli.space import require_address_space


@click.command(short_help="Build LAB, show its packets' walks and the verdict, leave it up.")
@topology_argument
@name_option
@backend_option
@json_option
@all_option
@record_option
def up(
    lab: str,
    name: str | None,
    backend: Literal["nft", "legacy"] | None,
    as_json: bool,
    unfold: bool,
    record: str | None,
) -> None:
    """Build LAB, send its traffic, show each packet's walk and the verdict; leave it up."""
    _be_able()
    require_address_space()
    from netemu.cli import labs

    sys.exit(labs.up(lab, name, backend, as_json, unfold, record))


@click.command(short_help="The same, and take it down again.")
@topology_argument
@name_option
@backend_option
@json_option
@all_option
@record_option
def run(
    lab: str,
    name: str | None,
    backend: Literal["nft", "legacy"] | None,
    as_json: bool,
    unfold: bool,
    record: str | None,
) -> None:
    """Do what up does, and take the lab down again."""
    _be_able()
    require_address_space()
    from netemu.cli import labs

    sys.exit(labs.run(lab, name, backend, as_json, unfold, record))


@click.command(short_help="Check a lab that is up, or a saved record, against its topology.")
@click.argument("lab", shell_complete=anything)
@click.option("--record", metavar="FILE", type=click.Path(), help="A saved record: no lab has to be up, nor root.")
@json_option
@all_option
def check(lab: str, record: str | None, as_json: bool, unfold: bool) -> None:
    """Send LAB's traffic once more, and show each packet's walk and the verdict as `run` does; LAB is up and stays up.

    With --record, what is checked is a record that `up` or `run` saved; LAB is then a topology, or a lab that is up.
    """
    require_address_space()
    from netemu.cli import labs

    sys.exit(labs.check(lab, record, as_json, unfold))


@click.command(short_help="Make a capture file or a table of a saved record.")
@click.argument("file", type=click.Path())
@click.option("--pcapng", metavar="OUT", help="For Wireshark: one interface a point, hooks among the wires.")
@click.option("--parquet", metavar="OUT", help="A row a sighting, for data frames (needs polars).")
def export(file: str, pcapng: str | None, parquet: str | None) -> None:
    """Write the saved record FILE as something else. OUT may be - for standard output.

    For example: netemu export hello.netemu --pcapng - | wireshark -k -i -
    """
    require_address_space()
    from netemu.cli import recordings

    recordings.export(file, pcapng, parquet)


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


@click.command(short_help="Write a topology of a regular shape.")
@click.argument("shape", type=click.Choice(["star", "line", "ring", "tree", "mesh"]))
@click.argument("size", type=int)
@click.option("--name", help="The lab's name; the shape and the size unless given.")
@click.option("--fanout", type=int, default=2, show_default=True, help="How many are below each router of a tree.")
@click.option("--ipv6", is_flag=True, help="IPv6 addresses and routes too.")
@click.option("--only-ipv6", is_flag=True, help="IPv6 addresses and routes alone.")
@click.option("--traffic", is_flag=True, help="The first host asks a web server on the last.")
@link_options
def generate(
    shape: str, size: int, name: str | None, fanout: int, ipv6: bool, only_ipv6: bool, traffic: bool, **link: str | None
) -> None:
    """Print a topology of SIZE hosts as YAML, with addresses and routes worked out.

    For example: netemu generate line 20 --delay 5ms > line.yaml
    """
    from netemu.cli import files

    files.generate_(
        shape, size, name=name, fanout=fanout, ipv4=not only_ipv6, ipv6=ipv6 or only_ipv6, traffic=traffic, link=link
    )


def _be_able() -> None:
    """Without root, make labs in a user namespace: entered before anything starts a thread."""
    from netemu import enter_user_namespace

    enter_user_namespace()
