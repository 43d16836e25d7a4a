"""What this machine's kernel and tools can do, found out by trying it in a scratch namespace."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from netemu.errors import KernelError, MachineError, NetemuError, PrivilegeError
from netemu.kernel.namespace import NetworkNamespace
from netemu.kernel.netlink import netfilter_socket
from netemu.kernel.nftables import Nftables
from netemu.netfilter.messages import GENERATION, attributes, messages

_CT_STATE = 21
_NFTRACE_GROUP = 9


@cache
def require_nf_tables() -> None:
    """Raise MachineError if this kernel has no nf_tables, which rules and hook taps need alike."""
    try:
        _in_scratch(_try_nft)
    except (KernelError, OSError) as error:
        said = str(error).splitlines()[0]
        if "not permitted" in said:
            raise PrivilegeError("labs need root, with CAP_NET_ADMIN: run it with sudo") from error
        raise MachineError(f"this kernel has no nf_tables ({said}): load it with modprobe nf_tables") from error


@cache
def trace_carries_conntrack() -> bool:
    """Whether nft trace events carry the conntrack state (Linux 6.16 and later): a traced packet tells."""
    net = NetworkNamespace.create("probe")
    try:
        with netfilter_socket(net) as events:
            events.setsockopt(270, 1, _NFTRACE_GROUP)
            events.settimeout(1)
            nft = Nftables(net)
            try:
                nft.run(
                    "table inet probe {\nchain output {\ntype filter hook output priority -450; policy accept;\n"
                    "notrack meta nftrace set 1 drop\n}\n}"
                )
                with net.entered():
                    _loopback_up()
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        try:
                            sender.sendto(b"", ("127.0.0.1", 9))
                        except PermissionError:
                            pass  # dropped, as it should be
                try:
                    event = next((payload for _, _, payload in messages(events.recv(65536))), b"")
                except TimeoutError as error:
                    raise KernelError("this kernel sends no nft trace events") from error
                return _CT_STATE in attributes(event, GENERATION)
            finally:
                nft.close()
    finally:
        net.close()


def _loopback_up() -> None:
    """Set lo up in the namespace that the calling thread is in (netdevice(7))."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that labs may need: whether it is there, whether every lab needs it, and what brings it."""

    name: str
    there: bool
    needed: bool
    detail: str = ""
    remedy: str = ""


def probe() -> list[Feature]:
    """Try everything that labs may need. Makes nothing but scratch namespaces, which go at once."""
    from netemu.kernel.packages import install_command

    found: list[Feature] = []

    root = "run as root: sudo netemu doctor"

    def tool(name: str, package: str, needed: bool, why: str) -> None:
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        found.append(Feature(name, path is not None, needed, path or why, "" if path else install_command(package)))

    def kernel(name: str, needed: bool, attempt: Callable[[], str], remedy: str) -> None:
        try:
            found.append(Feature(name, True, needed, attempt()))
        except (OSError, NetemuError) as error:
            found.append(Feature(name, False, needed, str(error).splitlines()[0], remedy))
            if isinstance(error, PrivilegeError):
                found[-1] = Feature(name, False, needed, "not tried: needs root", root)

    tool("iptables-restore", "iptables", True, "loads iptables rules")
    tool("nft", "nftables", True, "loads nft rules")
    tool("ip", "iproute2", False, "ip netns exec LAB-HOST")
    kernel("root", True, _is_root, root)
    kernel("network namespaces", True, lambda: _in_scratch(lambda _: "made and freed"), root)
    kernel("nf_tables", True, lambda: _in_scratch(_try_nft), "load the module: modprobe nf_tables")
    kernel("nft trace events", True, _trace_detail, "load the module: modprobe nf_tables")
    return found


def _is_root() -> str:
    if os.geteuid() != 0:
        raise PermissionError("not root")
    return "yes"


def _in_scratch(attempt: Callable[[NetworkNamespace], str]) -> str:
    net = NetworkNamespace.create("probe")
    try:
        return attempt(net)
    finally:
        net.close()


def _try_nft(net: NetworkNamespace) -> str:
    nft = Nftables(net)
    try:
        nft.run("table ip probe {\nchain c {\ntype nat hook prerouting priority -100;\n}\n}")
    finally:
        nft.close()
    return "a nat chain was made"


def _trace_detail() -> str:
    carried = trace_carries_conntrack()
    return (
        "with conntrack state" if carried else "without conntrack state (before Linux 6.16): the taps' rules ask for it"
    )
