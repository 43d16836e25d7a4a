"""Rules loaded exactly as given, by the real tools, and read back with their counters."""

from __future__ import annotations

import shutil
from typing import Literal

from netemu.errors import MachineError
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.nftables import Nftables
from netemu.kernel.process import Completed, run
from netemu.netfilter.ruleset import (
    Rule,
    Ruleset,
    committed_part,
    complained_line,
    listed_rules,
    saved_rules,
    tied,
    uses_conntrack,
)
from netemu.record.capture import TAP_TABLE

Tool = Literal["iptables", "ip6tables", "nft"]
_FAMILY = {"iptables": "ip", "ip6tables": "ip6"}
_PACKAGE = {"iptables": "iptables", "ip6tables": "iptables", "nft": "nftables"}


def program(tool: Tool, action: str) -> str:
    """The path of the program that does it: iptables' nf_tables variant by its own name, as there are two."""
    names = ["nft"] if tool == "nft" else [f"{tool}-nft-{action}", f"{tool}-{action}"]
    for name in names:
        if path := shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"):
            return path
    raise MachineError(
        f"{names[-1]} is missing: install the package {_PACKAGE[tool]} (apt-get install {_PACKAGE[tool]})"
    )


async def load_rules(net: NetworkNamespace, tool: Tool, text: str) -> Completed:
    """Have the tool load `text`; the caller looks at its exit code and its words."""
    command = [program(tool, "restore"), "-f", "-"] if tool == "nft" else [program(tool, "restore")]
    return await run(command, net, input=text.encode())


async def refused_line(tool: Tool, text: str, message: str) -> int | None:
    """The 1-based line of `text` that the tool refuses; None if no single line is at fault.

    The tools name the line that they were at, which for some faults is the table's COMMIT: then the shortest part of
    the text that they refuse, tried in scratch namespaces, tells.
    """
    lines = text.splitlines()
    line = complained_line(message)
    if tool == "nft" or (line is not None and line <= len(lines) and lines[line - 1].lstrip().startswith("-")):
        return line if line is not None and line <= len(lines) else None
    if not await _refuses(tool, committed_part(text, len(lines))):
        return None
    good, bad = 0, len(lines)
    while bad - good > 1:
        middle = (good + bad) // 2
        if await _refuses(tool, committed_part(text, middle)):
            bad = middle
        else:
            good = middle
    return bad


async def _refuses(tool: Tool, text: str) -> bool:
    net = NetworkNamespace.create("scratch")
    try:
        return (await load_rules(net, tool, text)).returncode != 0
    finally:
        net.close()


def tracks(net: NetworkNamespace) -> bool:
    """Whether a host's rules have switched connection tracking on there."""
    nft = Nftables(net)
    try:
        return uses_conntrack(nft.list())
    finally:
        nft.close()


async def read_rules(net: NetworkNamespace, tools: tuple[Tool, ...]) -> Ruleset:
    """The host's rules as the tools list them, with counters and nf_tables' handles; none but for `tools`."""
    if not tools:
        return Ruleset()
    saved: list[Rule] = []
    for tool in tools:
        if tool != "nft":
            done = await run([program(tool, "save"), "-c"], net)
            saved += saved_rules(done.stdout, _FAMILY[tool])
    nft = Nftables(net)
    try:
        listed = listed_rules(nft.list())
    finally:
        nft.close()
    others = tuple(rule for rule in listed.rules if rule.table != TAP_TABLE)
    return tied(saved, Ruleset(others, listed.nat_chains))
