"""Checksum and segmentation offloads of an interface, over ethtool's ioctl (linux/ethtool.h).

With them on, a capture holds checksums that were never computed and packets that never were on a wire.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Collection, Mapping

from netemu.errors import KernelError
from netemu.kernel.namespace import NetworkNamespace
from netemu.topology.interface import Offload

_SIOCETHTOOL = 0x8946
_SET: dict[Offload, int] = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}

_NEEDS: dict[str, tuple[Offload, ...]] = {"sg": ("tx",), "tso": ("sg", "tx"), "gso": ("sg", "tx")}
"""What goes takes those with it that need it (netdev_fix_features in net/core/dev.c)."""
_GOES_BY_ITSELF = ("tso", "gso", "gro")
"""tso and gso go with sg; a veth's gro is off to begin with, and without effect on older kernels (veth_disable_gro in
drivers/net/veth.c). Each request holds up all other networking for a while, so these are not asked for."""


def switch_off(net: NetworkNamespace, interfaces: Mapping[str, Collection[str]]) -> None:
    """Switch off every offload of these veth ends, but those wanted for each, and what they need."""
    if not interfaces:
        return
    with net.entered():
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with control:
        for interface, wanted in interfaces.items():
            kept = {*wanted, *(other for name in wanted for other in _NEEDS.get(name, ()))}
            goes = kept if "sg" in kept else (*kept, *_GOES_BY_ITSELF)
            for command in (command for name, command in _SET.items() if name not in goes):
                value = array.array("I", [command, 0])
                request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
                try:
                    fcntl.ioctl(control, _SIOCETHTOOL, request)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                        raise KernelError(f"{net.name}:{interface}: offloads: {error.strerror}") from error
