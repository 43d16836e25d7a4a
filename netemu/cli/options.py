"""What commands share: options, and arguments that a shell can complete."""

from __future__ import annotations

from contextlib import suppress

import click
from click.shell_completion import CompletionItem

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
all_option = click.option("--all", "unfold", is_flag=True, help="Print every packet, also those alike to one before.")
name_option = click.option(
    "--name", metavar="NAME", help="The lab's name, if not its topology's: many labs of one topology can be up."
)

backend_option = click.option(
    "--backend", type=click.Choice(["nft", "legacy"]), help="Which iptables loads the rules, whatever the file says."
)


def labs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The labs that are up, as far as this user can see them."""
    with suppress(Exception):  # a shell that completes has no place for complaints
        from netemu import labs_up

        return [CompletionItem(name) for name in labs_up() if name.startswith(incomplete)]
    return []


def hosts(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The hosts of the lab that stands before."""
    with suppress(Exception):
        from netemu import HeldLab

        found = HeldLab(ctx.params["lab"]).facts()["hosts"]
        return [CompletionItem(host) for host in found if host.startswith(incomplete)]
    return []


def topologies(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The topologies that come with netemu, or else files."""
    with suppress(Exception):
        from netemu import shipped

        if found := [CompletionItem(name) for name in shipped() if name.startswith(incomplete)]:
            return found
    return [CompletionItem(incomplete, type="file")]


def anything(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Labs that are up, and topologies."""
    return labs(ctx, param, incomplete) + topologies(ctx, param, incomplete)


lab_argument = click.argument("lab", shell_complete=labs)
host_argument = click.argument("host", shell_complete=hosts)
topology_argument = click.argument("lab", shell_complete=topologies)
