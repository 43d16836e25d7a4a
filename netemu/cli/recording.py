"""The commands about records: journeys; what it does is in sides."""

from __future__ import annotations

import sys

import click

from netemu.cli.options import json_option
from netemu.cli.space import require_address_space


@click.command(short_help="Join captures of several sides of a NAT.")
@click.argument("files", nargs=-1, required=True, metavar="FILE FILE...", type=click.Path())
@click.option("--flow", type=int, metavar="N", help="Only flow N, and the walk of each of its packets.")
@click.option("--all", "unfold", is_flag=True, help="Every flow, also of one side only, and the walk of each packet.")
@json_option
def journeys(files: tuple[str, ...], flow: int | None, unfold: bool, as_json: bool) -> None:
    """Join packets that captures of several sides of a NAT saw, the client's side first.

    FILEs are pcap or pcapng, made anywhere. Packets are known by what NAT leaves alone, so addresses, ports and clocks
    need not agree. Exit code 3 if nothing could be joined.

    For example: netemu journeys home.pcap isp.pcap
    """
    require_address_space()
    from netemu.cli import sides

    sys.exit(sides.journeys(files, flow, unfold, as_json))
