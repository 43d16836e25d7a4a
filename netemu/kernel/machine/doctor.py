"""Everything that labs may need of this machine, tried one by one, each with what brings it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netemu.errors import MachineError, NetemuError, PrivilegeError
from netemu.kernel.packages import install_command, module_command
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.subordinate import why_alone
from netemu.kernel.spaces.userspace import (
    enter_user_namespace,
    forbidden_by,
    mapped_ids,
    ordinary_users_may,
    outside_user,
)

if TYPE_CHECKING:
    from netemu.kernel.machine.probes import Probe

_TOOLS = (
    ("nft", "nft", "nftables", True, "loads nft rules"),
    ("iptables-restore", "iptables-nft-restore", "iptables", True, "loads iptables rules"),
    ("ip6tables-restore", "ip6tables-nft-restore", "iptables", True, "loads ip6tables rules"),
    ("iptables-legacy-restore", "iptables-legacy-restore", "iptables-legacy", False, "loads them with backend: legacy"),
    ("ip6tables-legacy-restore", "ip6tables-legacy-restore", "iptables-legacy", False, "the same for ip6tables"),
    ("ip", "ip", "iproute2", False, "looks around in hosts: ip netns exec LAB-HOST"),
    ("newuidmap", "newuidmap", "uidmap", False, "labs without root whose processes run as several users"),
)
"""Name, program, package, whether every lab needs it, what it is for."""
_PATHS = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_ENOUGH = 64 << 20


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that labs may need: whether it is there, whether every lab needs it, and what brings it.

    One that was not `tried` may be there or not.
    """

    name: str
    there: bool
    needed: bool
    detail: str = ""
    remedy: str = ""
    tried: bool = True


def probe() -> list[Feature]:
    """Try everything that labs may need. Makes nothing but scratch namespaces, which go at once.

    Without root this process is in a user namespace of its own afterwards (`enter_user_namespace`).
    """
    users = _user_namespaces()
    try:
        rootless = enter_user_namespace()
        able = True
    except PrivilegeError:
        rootless, able = True, False
    from netemu.kernel.machine.probes import PROBES, SCRATCH, Probe  # what starts threads waits until that is done

    found = [*(_tool(*what) for what in _TOOLS), _libpcap()]
    found.append(_root(rootless, able))
    found.append(Feature("user namespaces", users.there, rootless, users.detail, users.remedy))
    found += [_other_users(), _buffers()] if rootless and able else []
    probes = {**PROBES, "nft trace events": Probe(_trace, needed=True, module="nf_tables")}
    why_not = "" if able else "needs root or a user namespace"
    for name, each in probes.items():
        found.append(_kernel(name, each, why_not))
        if name == SCRATCH and not found[-1].there:
            why_not = why_not or "there is no network namespace to try it in"
    return found


def _root(rootless: bool, able: bool) -> Feature:
    if not rootless:
        return Feature("root", there=True, needed=False, detail="yes")
    if able:
        return Feature("root", there=False, needed=False, detail="no: labs live in a user namespace")
    return Feature("root", there=False, needed=True, detail="no", remedy="run as root: sudo netemu doctor")


def _tool(name: str, program: str, package: str, needed: bool, why: str) -> Feature:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PATHS}")
    return Feature(name, path is not None, needed, path or why, "" if path else install_command(package))


def _libpcap() -> Feature:
    from netemu.kernel.taps.filters import libpcap

    try:
        return Feature("libpcap", there=True, needed=False, detail=libpcap())
    except MachineError:
        return Feature(
            "libpcap",
            there=False,
            needed=False,
            detail="compiles filters of taps",
            remedy=install_command("libpcap0.8"),
        )


def _user_namespaces() -> Feature:
    name = "user namespaces"
    try:
        return Feature(name, there=True, needed=False, detail=ordinary_users_may())
    except PrivilegeError as error:
        switch = forbidden_by()
        remedy = f"sudo sysctl -w {switch[0]}={switch[1]}" if switch else "run it with sudo"
        return Feature(name, there=False, needed=False, detail=str(error).partition(": ")[0], remedy=remedy)


def _other_users() -> Feature:
    """Root's labs have all of the machine's users; others' have their subordinate ids, where something maps them."""
    name = "other users"
    count = min(sum(map(len, mapped_ids(kind))) for kind in ("uid", "gid")) - 1
    if count > 0:
        return Feature(name, there=True, needed=False, detail=f"services may run as {count} users besides root")
    why, remedy = why_alone(outside_user())
    return Feature(name, there=False, needed=False, detail=f"services run as root alone: {why}", remedy=remedy)


def _buffers() -> Feature:
    """Root's taps may hold as much as they like; others' no more than this sysctl says."""
    most = int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="utf-8"))
    enough = most >= _ENOUGH
    what = f"net.core.rmem_max is {most // 1024} KiB" + ("" if enough else ": taps of fast traffic may lose packets")
    return Feature(
        "tap buffers",
        enough,
        needed=False,
        detail=what,
        remedy="" if enough else f"sudo sysctl -w net.core.rmem_max={_ENOUGH}",
    )


def _kernel(name: str, each: Probe, why_not: str) -> Feature:
    if why_not:
        return Feature(name, there=False, needed=each.needed, detail=why_not, tried=False)
    from netemu.kernel.machine.probes import try_in_scratch

    try:
        return Feature(name, there=True, needed=each.needed, detail=try_in_scratch(each.attempt))
    except (OSError, NetemuError) as error:
        said = str(error).splitlines()[0].removeprefix("host probe: ")
        detail = f"for {each.why}: {said}" if each.why else said
        return Feature(
            name,
            there=False,
            needed=each.needed,
            detail=detail,
            remedy=module_command(each.module) if each.module else "",
        )


def _trace(_net: NetworkNamespace) -> str:
    from netemu.kernel.machine.features import trace_carries_conntrack

    carried = trace_carries_conntrack()
    return (
        "with conntrack state" if carried else "without conntrack state (before Linux 6.16): the taps' rules ask for it"
    )
