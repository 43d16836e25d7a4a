"""What a kernel may lack, each tried in a scratch namespace: nothing of it is left, nor ever seen by the machine.

A probe is a function of a scratch network namespace that returns a word or two, or raises OSError or NetemuError.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv6Interface
from pathlib import Path
from typing import Literal

from netemu.errors import KernelError
from netemu.kernel.links import rtnetlink as rt
from netemu.kernel.links.links import Links
from netemu.kernel.links.qdisc import Shape
from netemu.kernel.rules.loading import program
from netemu.kernel.rules.nftables import Nftables
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.syscalls import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, mount, unshare
from netemu.kernel.taps.netlink import netfilter_socket
from netemu.netfilter.messages import NLMSG_ERROR
from netemu.netfilter.ruleset import complaint

_MS_PRIVATE_ALL = 1 << 18 | 1 << 14


@dataclass(frozen=True, slots=True)
class Probe:
    """Something that labs may need of a kernel: how to try it, whether every lab needs it, and what to load for it."""

    attempt: Callable[[NetworkNamespace], str]
    needed: bool = False
    module: str = ""
    why: str = ""


def try_in_scratch(attempt: Callable[[NetworkNamespace], str]) -> str:
    """Carry out an attempt in a namespace that is freed at once."""
    net = NetworkNamespace.create("probe")
    try:
        return attempt(net)
    finally:
        net.close()


def try_nft(net: NetworkNamespace) -> str:
    """Make a nat chain."""
    nft = Nftables(net)
    try:
        nft.run("table ip probe {\nchain c {\ntype nat hook prerouting priority -100;\n}\n}")
    finally:
        nft.close()
    return "a nat chain was made"


def _linked(do: Callable[[Links], object]) -> Callable[[NetworkNamespace], str]:
    """An attempt that has rtnetlink make something, on top of a veth pair `below` and `beside`, both ends here."""

    def attempt(net: NetworkNamespace) -> str:
        links = Links(net)
        try:
            links.add_veth("below", links, "beside")
            do(links)
            links.flush()
        finally:
            links.close()
        return "one was made"

    return attempt


def _vlan(links: Links) -> None:
    """A VLAN interface; labs make none themselves: IFLA_LINK, and IFLA_LINKINFO with IFLA_VLAN_ID."""
    number = rt.attribute(1, struct.pack("=H", 7))
    info = rt.text(1, "vlan") + rt.attribute(2, number)
    body = bytes(16) + rt.number(5, links.index["below"]) + rt.attribute(18, info)
    links.requests.queue("VLAN interface", rt.NEW_LINK, body, rt.CREATE)


def _ip_vs(net: NetworkNamespace) -> str:
    """Ask generic netlink for IPVS' family, as ipvsadm does: the kernel loads its module for that."""
    name = b"IPVS\0"
    attribute = struct.pack("=HH", 4 + len(name), 2) + name.ljust(8, b"\0")  # CTRL_ATTR_FAMILY_NAME
    body = struct.pack("=BBH", 3, 1, 0) + attribute  # CTRL_CMD_GETFAMILY
    with net.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    with sock:
        sock.settimeout(1)
        sock.sendto(struct.pack("=IHHII", 16 + len(body), 16, 1, 1, 0) + body, (0, 0))
        answer = sock.recv(65536)
    if struct.unpack_from("=H", answer, 4)[0] == NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, 16)[0]
        raise OSError(error, os.strerror(error))
    return "is there"


def _conntrack_events(net: NetworkNamespace) -> str:
    with netfilter_socket(net) as sock:
        sock.setsockopt(270, 1, 1)
    return "can be listened to"


def _packet_ring(net: NetworkNamespace) -> str:
    """A memory-mapped ring (TPACKET_V2)."""
    with net.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with sock:
        sock.setsockopt(263, 10, 1)
        sock.setsockopt(263, 5, struct.pack("=IIII", 4096, 4, 2048, 8))
    return "with a ring"


def _in_thread(doing: Callable[[], str]) -> str:
    """In a thread that ends with what it has changed of itself."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(doing).result()


def _namespaces(_net: NetworkNamespace) -> str:
    def attempt() -> str:
        unshare(CLONE_NEWPID)
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        return "made and freed"

    return _in_thread(attempt)


def _overlay(_net: NetworkNamespace) -> str:
    """An overlay on a tmpfs, both in a mount namespace of their own."""
    with tempfile.TemporaryDirectory(prefix="netemu-") as place:

        def attempt() -> str:
            unshare(CLONE_NEWNS)
            mount("none", "/", None, _MS_PRIVATE_ALL)
            mount("tmpfs", place, "tmpfs")
            for name in ("lower", "upper", "work", "all"):
                (Path(place) / name).mkdir()
            mount(
                "overlay",
                f"{place}/all",
                "overlay",
                0,
                f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work",
            )
            return "one was mounted"

        return _in_thread(attempt)


def _legacy(tool: Literal["iptables", "ip6tables"]) -> Callable[[NetworkNamespace], str]:
    """An attempt that has iptables-legacy make its nat table."""

    def attempt(net: NetworkNamespace) -> str:
        with net.entered():
            done = subprocess.run(
                [program(tool, "restore", "legacy")],
                input="*nat\nCOMMIT\n",
                env=os.environ | {"XTABLES_LOCKFILE": "/dev/null"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise KernelError(complaint(done.stderr))
        return "a nat table was made"

    return attempt


SCRATCH = "network namespaces"
PROBES: Mapping[str, Probe] = {
    SCRATCH: Probe(lambda _: "made and freed", needed=True),
    "process, mount and host name namespaces": Probe(_namespaces, needed=True),
    "nf_tables": Probe(try_nft, needed=True, module="nf_tables"),
    "conntrack events": Probe(_conntrack_events, needed=True, module="nf_conntrack_netlink"),
    "packet sockets": Probe(_packet_ring, needed=True, module="af_packet"),
    "veth": Probe(_linked(Links.names), needed=True, module="veth"),
    "bridge": Probe(_linked(lambda links: links.add_bridge("over")), needed=True, module="bridge"),
    "IPv6": Probe(
        _linked(lambda links: links.add_address("lo", IPv6Interface("fd00::1/64"))), module="ipv6", why="IPv6 addresses"
    ),
    "policy rules": Probe(_linked(lambda links: links.add_rule(table=100)), why="policy_rules"),
    "netem": Probe(
        _linked(lambda links: links.shape("lo", Shape(delay_ns=1000))),
        module="sch_netem",
        why="delay, loss, duplicate, corrupt, reorder",
    ),
    "tbf": Probe(
        _linked(lambda links: links.shape("lo", Shape(rate=1_000_000))), module="sch_tbf", why="rate without netem"
    ),
    "vxlan": Probe(_linked(lambda links: links.add_vxlan("over", 7)), module="vxlan", why="vxlan interfaces"),
    "macvlan": Probe(
        _linked(lambda links: links.add_macvlan("over", "below")), module="macvlan", why="macvlan interfaces"
    ),
    "vlan": Probe(_linked(_vlan), module="8021q", why="VLAN interfaces that a lab's own commands make"),
    "iptables-legacy": Probe(_legacy("iptables"), module="iptable_nat", why="backend: legacy"),
    "ip6tables-legacy": Probe(_legacy("ip6tables"), module="ip6table_nat", why="backend: legacy"),
    "ip_vs": Probe(_ip_vs, module="ip_vs", why="IPVS that a lab's own commands set up"),
    "overlay": Probe(_overlay, module="overlay", why="files of hosts at new places"),
}
"""By name; what all others are tried in comes first. What is not needed by every lab says what it is for."""
