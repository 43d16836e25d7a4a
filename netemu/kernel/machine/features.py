"""What labs must know of this machine's kernel before they are built, found out by trying it."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import cache

from netemu.errors import KernelError, MachineError, NetemuError, PrivilegeError
from netemu.kernel.machine.probes import PROBES, try_in_scratch, try_nft
from netemu.kernel.packages import module_command
from netemu.kernel.rules.nftables import Nftables
from netemu.kernel.spaces.loopback import loopback_up
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.netlink import netfilter_socket
from netemu.netfilter.messages import GENERATION, attributes, messages

_CT_STATE = 21
_NFTRACE_GROUP = 9


@cache
def require_nf_tables() -> None:
    """Raise MachineError if this kernel has no nf_tables, which rules and hook taps need alike."""
    try:
        try_in_scratch(try_nft)
    except (KernelError, OSError) as error:
        said = str(error).splitlines()[0]
        if "not permitted" in said:
            raise PrivilegeError("labs need CAP_NET_ADMIN: run it with sudo") from error
        raise MachineError(f"this kernel has no nf_tables ({said}): load it with modprobe nf_tables") from error


def missing(features: Iterable[str]) -> dict[str, str]:
    """Of these features, by their probes' names, those that this kernel lacks, each with what it says and a remedy."""
    said = {feature: _lacks(feature) for feature in features}
    return {feature: words for feature, words in said.items() if words}


@cache
def _lacks(feature: str) -> str:
    probe = PROBES[feature]
    try:
        try_in_scratch(probe.attempt)
    except (NetemuError, OSError) as error:
        said = str(error).splitlines()[0].removeprefix("host probe: ")
        if not probe.module:
            return said
        return f"{said.partition(': this kernel has no ')[0]}: {module_command(probe.module)}"
    return ""


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
                    loopback_up()
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
