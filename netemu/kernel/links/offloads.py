"""Checksum and segmentation offloads of an interface, over ethtool's ioctl (linux/ethtool.h).

With them on, a capture holds checksums that were never computed and packets that never were on a wire. All of an
interface's go in one request, as each holds up all other networking for a while.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Collection, Mapping
from functools import cache

from netemu.errors import KernelError
from netemu.topology.interface import Offload

_SIOCETHTOOL = 0x8946
_STRINGS, _COUNTS, _SET_FEATURES = 0x1B, 0x37, 0x3B
_FEATURES, _NAME = 4, 32
"""ETH_SS_FEATURES; and the bytes of each name, ETH_GSTRING_LEN."""
_CALLED: dict[Offload, str] = {
    "rx": "rx-checksum",
    "tx": "tx-checksum-*",
    "sg": "tx-scatter-gather*",
    "tso": "tx-tcp*-segmentation",
    "gso": "tx-generic-segmentation",
    "gro": "rx-gro",
}
"""Which of the kernel's features `ethtool -K` means by each (ethtool_get_feature_mask in net/ethtool/ioctl.c)."""
_NEEDS: dict[str, tuple[Offload, ...]] = {"sg": ("tx",), "tso": ("sg", "tx"), "gso": ("sg", "tx")}
"""What goes takes those with it that need it (netdev_fix_features in net/core/dev.c)."""


def switch_off(sock: socket.socket, host: str, interfaces: Mapping[str, Collection[Offload]]) -> None:
    """Switch off every offload of these interfaces, but those wanted for each, and what they need.

    `sock` is any socket of the host's namespace. Raises KernelError.
    """
    for interface, wanted in interfaces.items():
        try:
            _ask(sock, interface, _request(frozenset(wanted)))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise KernelError(f"{host}:{interface}: offloads: {error.strerror}") from error


@cache
def _request(wanted: frozenset[Offload]) -> bytes:
    """What asks for that: struct ethtool_sfeatures."""
    kept = {*wanted, *(other for name in wanted for other in _NEEDS.get(name, ()))}
    goes = [feature for name, feature in _features().items() if name not in kept]
    blocks = [struct.pack("=II", sum(parts), 0) for parts in zip(*goes, strict=True)]
    return struct.pack("=II", _SET_FEATURES, len(blocks)) + b"".join(blocks)


@cache
def _features() -> dict[Offload, tuple[int, ...]]:
    """The bits of each offload, in blocks of 32, as this kernel numbers them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("=IIQI", _COUNTS, 0, 1 << _FEATURES, 0)
        (count,) = struct.unpack_from("=I", _ask(control, "lo", asked), 16)
        told = _ask(control, "lo", struct.pack("=III", _STRINGS, _FEATURES, count) + bytes(count * _NAME))
    names = [told[start : start + _NAME].split(b"\0")[0].decode() for start in range(12, len(told), _NAME)]
    return {
        offload: tuple(
            sum(1 << bit for bit, name in enumerate(names[first : first + 32]) if _is_of(name, pattern))
            for first in range(0, count, 32)
        )
        for offload, pattern in _CALLED.items()
    }


def _is_of(name: str, pattern: str) -> bool:
    """Whether a feature is one of these: at most one `*`. Compiling such expressions takes longer than all the rest."""
    start, star, end = pattern.partition("*")
    return name.startswith(start) and name.endswith(end) if star else name == pattern


def _ask(sock: socket.socket, interface: str, request: bytes) -> bytes:
    """What becomes of a request. Raises OSError."""
    value = array.array("B", request)
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), value.buffer_info()[0]))
    return value.tobytes()
