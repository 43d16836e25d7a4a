"""Rules loaded exactly as given, by the real tools, and read back with their counters."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from netemu.errors import KernelError, MachineError
from netemu.kernel.packages import install_command
from netemu.kernel.processes.process import Completed, run
from netemu.kernel.rules.nftables import Nftables
from netemu.kernel.rules.variants import find_tool, package
from netemu.kernel.spaces.forking import limits_named
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.netfilter.ruleset import (
    Rule,
    Ruleset,
    committed_part,
    complained_line,
    complaint,
    legacy_uses_conntrack,
    listed_rules,
    saved_rules,
    tied,
    uses_conntrack,
)
from netemu.record.capture import is_tap_table
from netemu.topology.model import Backend
from netemu.topology.steps import Tool

_FAMILIES: dict[Tool, str] = {"iptables": "ip", "ip6tables": "ip6"}
_IPTABLES = {"raw", "mangle", "nat", "filter", "security"}
OWN_LOCK = {"XTABLES_LOCKFILE": "/proc/self/fd/0"}
"""iptables-legacy takes a lock of the machine's, which without root it may not; here its input, a file of its own."""


def program(tool: Tool, action: str, backend: Backend = "nft") -> str:
    """The path of the program that does it: of iptables' two variants the backend's, by its own name."""
    name = "nft" if tool == "nft" else f"{tool}-{backend}-{action}"
    if path := find_tool(name):
        return path
    raise MachineError(f"{name} is missing: {install_command('nftables' if tool == 'nft' else package(backend))}")


async def load_rules(net: NetworkNamespace, tool: Tool, text: str, backend: Backend = "nft") -> Completed:
    """Have the tool load `text`; the caller looks at its exit code and its words."""
    command = [program(tool, "restore", backend), *(("-f", "-") if tool == "nft" else ())]
    return await run(command, net, input=text.encode(), environment=dict(os.environ) | OWN_LOCK)


async def refused_line(tool: Tool, text: str, message: str, backend: Backend = "nft") -> int | None:
    """The 1-based line of `text` that the tool refuses; None if no single line is at fault.

    The tools name the line that they were at, which for some faults is the table's COMMIT: then the shortest part of
    the text that they refuse, tried in scratch namespaces, tells.
    """
    lines = text.splitlines()
    line = complained_line(message)
    if tool == "nft" or (line is not None and line <= len(lines) and lines[line - 1].lstrip().startswith("-")):
        return line if line is not None and line <= len(lines) else None
    if not await _refuses(tool, committed_part(text, len(lines)), backend):
        return None
    good, bad = 0, len(lines)
    while bad - good > 1:
        middle = (good + bad) // 2
        if await _refuses(tool, committed_part(text, middle), backend):
            bad = middle
        else:
            good = middle
    return bad


async def _refuses(tool: Tool, text: str, backend: Backend) -> bool:
    net = NetworkNamespace.create("scratch")
    try:
        return (await load_rules(net, tool, text, backend)).returncode != 0
    finally:
        net.close()


def tracks(net: NetworkNamespace) -> bool:
    """Whether a host's rules have switched connection tracking on there."""
    nft = Nftables(net)
    try:
        if uses_conntrack(nft.list()):
            return True
    finally:
        nft.close()
    tables = _legacy_tables(net)
    return any(table == "nat" for _, table in tables) or legacy_uses_conntrack(_legacy_rules(net, tables))


async def read_rules(net: NetworkNamespace) -> Ruleset:
    """All rules of a host, whoever loaded them, with counters and nf_tables' handles."""
    nft = Nftables(net)
    try:
        listed = listed_rules(nft.list())
    finally:
        nft.close()
    listed = replace(listed, rules=tuple(rule for rule in listed.rules if not is_tap_table(rule.table)))
    saved: list[Rule] = []
    for tool, family in _FAMILIES.items():
        if any(rule.family == family and rule.table in _IPTABLES for rule in listed.rules):
            done = await run([program(tool, "save"), "-c"], net)
            saved += saved_rules(done.stdout, family)
    found, tables = tied(saved, listed), _legacy_tables(net)
    legacy = await asyncio.to_thread(_legacy_rules, net, tables) if tables else []
    return replace(found, rules=found.rules + tuple(legacy), legacy=tables)


def _legacy_tables(net: NetworkNamespace) -> frozenset[tuple[str, str]]:
    """The tables that iptables-legacy has here: the kernel lists them for the namespace that asks."""
    found: set[tuple[str, str]] = set()
    with net.entered():
        for family in _FAMILIES.values():
            try:
                names = Path(f"/proc/thread-self/net/{family}_tables_names").read_text(encoding="utf-8")
            except FileNotFoundError:
                continue  # a kernel without them
            found |= {(family, table) for table in names.split()}
    return frozenset(found)


def _legacy_rules(net: NetworkNamespace, tables: frozenset[tuple[str, str]]) -> list[Rule]:
    """The rules of those tables, with their counters."""
    found: list[Rule] = []
    for tool, family in _FAMILIES.items():
        if any(each == family for each, _ in tables):
            with limits_named(), net.entered():
                done = subprocess.run([program(tool, "save", "legacy"), "-c"], capture_output=True, check=False)
            if done.returncode:
                raise KernelError(f"host {net.name}: {tool}-legacy-save: {complaint(done.stderr.decode())}")
            found += saved_rules(done.stdout.decode(errors="replace"), family, legacy=True)
    return found
