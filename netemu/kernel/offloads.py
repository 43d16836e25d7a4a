"""Checksum and segmentation offloads of an interface, over ethtool's ioctl (linux/ethtool.h).

With them on, a capture holds checksums that were never computed and packets that never were on a wire.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct

from netemu.errors import KernelError
from netemu.kernel.namespace import NetworkNamespace

_SIOCETHTOOL = 0x8946
_SET = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}


def switch_off(net: NetworkNamespace, interfaces: list[str]) -> None:
    """Switch off every offload of these interfaces that the kernel lets be switched."""
    if not interfaces:
        return
    with net.entered():
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with control:
        for interface in interfaces:
            for command in _SET.values():
                value = array.array("I", [command, 0])
                request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
                try:
                    fcntl.ioctl(control, _SIOCETHTOOL, request)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                        raise KernelError(f"{net.name}:{interface}: offloads: {error.strerror}") from error
