"""One packet seen at one point."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from netemu.errors import UsageError
from netemu.netfilter.conntrack import PacketConntrack
from netemu.record.decode.headers import Headers
from netemu.topology.points import Point

if TYPE_CHECKING:
    from scapy.packet import Packet


IPV6_HEADER = 40


class Source(Protocol):
    """What holds the bytes of sightings."""

    def bytes_of(self, row: int) -> bytes:
        """The bytes of one of them."""

    def place_in_trace(self, row: int) -> int | None:
        """Which datagram of its host's trace told of one of them; None on a wire."""

    def checksums_of(self, row: int) -> tuple[str | None, str | None]:
        """What is known of one's checksums: its IP header's, and its transport's."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One packet at one point: kernel time in ns (None at a hook, whose events carry none), headers, conntrack.

    `source` and `row` are where its bytes are: no part of what it is, so equal sightings may have others.
    """

    point: Point
    time_ns: int | None
    headers: Headers
    ct: PacketConntrack | None = None
    source: Source | None = field(default=None, compare=False, repr=False)
    row: int = field(default=-1, compare=False, repr=False)

    @property
    def data(self) -> bytes:
        """Its bytes: on a wire the frame, as far as it was captured; at a hook what the trace carries of its headers.

        A hook's are at most 40 bytes of the network header and 20 of the transport header: no payload; of IPv6's later
        fragments the header's first 20. Raises UsageError for a sighting that came from no record.
        """
        if self.source is None:
            raise UsageError(f"this sighting at {self.point} is of no record: its bytes are not there")
        return self.source.bytes_of(self.row)

    @property
    def place_in_trace(self) -> int | None:
        """Which datagram of its host's trace told of it: their order is the order at hooks. None where none did."""
        return None if self.source is None else self.source.place_in_trace(self.row)

    @property
    def ip_checksum(self) -> str | None:
        """Whether its IPv4 header's checksum is `right` or `wrong`; `unknown` where the header is cut. IPv6 has none.

        None also for a sighting that came from no record.
        """
        return None if self.source is None else self.source.checksums_of(self.row)[0]

    @property
    def checksum(self) -> str | None:
        """Whether the checksum of its TCP, UDP, ICMP or IGMP is `right` or `wrong`, None for other protocols.

        `absent`: UDP without one. `unfinished`: left to a device that computes it (offloads), as on `lo`. `unknown`:
        not all of it is there: at a hook, of a fragment, of a frame that was cut.
        """
        return None if self.source is None else self.source.checksums_of(self.row)[1]

    @property
    def wrong_checksums(self) -> tuple[str, ...]:
        """The protocols whose checksums are wrong in it: `ip`, and the transport's name."""
        if self.source is None:
            return ()
        ip, carried = self.source.checksums_of(self.row)
        return (*(("ip",) if ip == "wrong" else ()), *((self.headers.proto,) if carried == "wrong" else ()))

    def packet(self) -> Packet:
        """Its scapy packet: from Ether on a wire, from IP or IPv6 at a hook, there without its payload (see `data`).

        Lengths and checksums are those that the bytes say. scapy is loaded when this is first called.
        """
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
        from scapy.layers.l2 import Ether

        data = self.data
        if self.point.stage is None:
            return Ether(data)
        if data[0] >> 4 != 6:
            return IP(data)
        if len(data) < IPV6_HEADER:  # a later fragment's, of which its frame tells the rest
            data = data[:8] + ip_address(self.headers.src).packed + ip_address(self.headers.dst).packed
        return IPv6(data)
