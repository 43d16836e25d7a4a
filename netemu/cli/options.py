"""What commands share: options, and arguments that a shell can complete."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from glob import escape, glob

import click
from click.shell_completion import CompletionItem

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
all_option = click.option("--all", "unfold", is_flag=True, help="Print every packet, also those alike to one before.")
name_option = click.option(
    "--name", metavar="NAME", help="The lab's name, if not its topology's: many labs of one topology can be up."
)
record_option = click.option(
    "--record", metavar="FILE", type=click.Path(), help="Save the record, for check and export."
)

backend_option = click.option(
    "--backend", type=click.Choice(["nft", "legacy"]), help="Which iptables loads the rules, whatever the file says."
)
_FILES = (".yaml", ".yml")
_LINK = {
    "delay": "How long each packet is held, as in 20ms.",
    "jitter": "How far the delay varies to either side, as in 2ms.",
    "loss": "The share of packets that is dropped, as in 1%.",
    "duplicate": "The share of packets that is sent twice.",
    "corrupt": "The share of packets in which one bit is turned.",
    "reorder": "The share of packets that skip the delay.",
    "rate": "Bits a second, as in 10mbit.",
    "queue": "How many packets wait at most, as in 100packets.",
}


def link_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each property of a link; what is not given is None."""
    for name, help_ in reversed(_LINK.items()):
        command = click.option(f"--{name}", metavar="VALUE", help=help_)(command)
    return command


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


def services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The hosts of the lab that stands before; once one is written, its services, as HOST:SERVICE."""
    if ":" not in incomplete:
        return hosts(ctx, param, incomplete)
    with suppress(Exception):
        from netemu import HeldLab

        host = incomplete.partition(":")[0]
        found = [f"{host}:{name}" for name in HeldLab(ctx.params["lab"]).topology().hosts[host].services]
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]
    return []


def services_there(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The services of the host that stands before."""
    with suppress(Exception):
        from netemu import HeldLab

        found = HeldLab(ctx.params["lab"]).topology().hosts[ctx.params["host"]].services
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]
    return []


def points(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The interfaces of the lab that stands before, as HOST:INTERFACE."""
    with suppress(Exception):
        from netemu import HeldLab

        made = HeldLab(ctx.params["lab"]).topology().hosts.items()
        found = [f"{host}:{interface}" for host, wanted in made for interface in wanted.interfaces]
        return [CompletionItem(point) for point in found if point.startswith(incomplete)]
    return []


def topologies(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The topologies that come with netemu, and files that look like one; or else any file."""
    with suppress(Exception):
        from netemu import shipped

        found = [name for name in shipped() if name.startswith(incomplete)]
        if found:
            found += sorted(name for end in _FILES for name in glob(f"{escape(incomplete)}*{end}"))
            return [CompletionItem(name) for name in found]
    return [CompletionItem(incomplete, type="file")]


def anything(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Labs that are up, and topologies."""
    return labs(ctx, param, incomplete) + topologies(ctx, param, incomplete)


lab_argument = click.argument("lab", shell_complete=labs)
host_argument = click.argument("host", shell_complete=hosts)
topology_argument = click.argument("lab", shell_complete=topologies)
