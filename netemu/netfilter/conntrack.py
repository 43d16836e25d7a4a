"""Connection tracking's words: states and ctinfo, status bits, tuples, entries, and which manips are set up.

Numbers are those of linux/netfilter/nf_conntrack_common.h.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from netemu.topology.values import endpoint_text

Direction = Literal["original", "reply"]
State = Literal["new", "established", "related", "invalid", "untracked"]

STATUS_BITS = {
    "expected": 1 << 0,
    "seen-reply": 1 << 1,
    "assured": 1 << 2,
    "confirmed": 1 << 3,
    "src-nat": 1 << 4,
    "dst-nat": 1 << 5,
    "seq-adjust": 1 << 6,
    "src-nat-done": 1 << 7,
    "dst-nat-done": 1 << 8,
    "dying": 1 << 9,
    "fixed-timeout": 1 << 10,
    "template": 1 << 11,
    "untracked": 1 << 12,
    "helper": 1 << 13,
    "offload": 1 << 14,
    "hw-offload": 1 << 15,
}
SRC_NAT_DONE = STATUS_BITS["src-nat-done"]
DST_NAT_DONE = STATUS_BITS["dst-nat-done"]

STATE_BITS: tuple[tuple[int, State], ...] = (
    (1, "invalid"),
    (2, "established"),
    (4, "related"),
    (8, "new"),
    (64, "untracked"),
)
"""NF_CT_STATE_BIT: what the trace's CT_STATE and nft's `ct state` hold."""


def status_names(bits: int) -> tuple[str, ...]:
    """The names of the IPS_ bits that are set, lowest first."""
    return tuple(name for name, bit in STATUS_BITS.items() if bits & bit)


def state_name(bits: int) -> State | None:
    """The state in an NF_CT_STATE_BIT word; None if none is set."""
    for bit, name in STATE_BITS:
        if bits & bit:
            return name
    return None


@dataclass(frozen=True, slots=True)
class PacketConntrack:
    """What connection tracking holds of one packet at one point.

    `id` and `status` are None where the kernel's trace does not carry them (before Linux 6.16); there the tap's own
    rules tell the state, the direction and, as bits in `known_manips`, which manips were set up.
    """

    state: State
    direction: Direction | None = None
    id: int | None = None
    status: int | None = None
    known_manips: int | None = None

    @property
    def ctinfo(self) -> str:
        """enum ip_conntrack_info's name, as in ESTABLISHED_REPLY: how the kernel sees this packet."""
        if self.state in ("established", "related") and self.direction == "reply":
            return f"{self.state.upper()}_REPLY"
        return self.state.upper()

    @property
    def manips(self) -> tuple[str, ...] | None:
        """Which of src and dst the entry had set up by then (nf_nat_initialized); None where unknown.

        A nat chain is walked exactly for a packet in NEW, or RELATED but no ICMP error, whose entry had not yet set
        up that hook's manip (nf_nat_inet_fn in nf_nat_core.c).
        """
        bits = self.status if self.status is not None else self.known_manips
        if bits is None:
            return None
        return tuple(name for name, bit in (("src", SRC_NAT_DONE), ("dst", DST_NAT_DONE)) if bits & bit)


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection: protocol, addresses and ports; for ICMP both ports are the id."""

    proto: str
    src: str
    sport: int | None
    dst: str
    dport: int | None

    @property
    def source(self) -> str:
        """Source address and port as people write them."""
        return endpoint_text(self.src, self.sport)

    @property
    def destination(self) -> str:
        """Destination address and port as people write them."""
        return endpoint_text(self.dst, self.dport)

    @property
    def inverse(self) -> Tuple:
        """The other direction, as an answer would have it without NAT."""
        return Tuple(self.proto, self.dst, self.dport, self.src, self.sport)


@dataclass(frozen=True, slots=True)
class Entry:
    """One conntrack entry: the reply tuple differs from the original's inverse by what NAT set.

    `mark` and `zone` are None where they are not told: the kernel leaves a mark of 0 and the default zone 0 out (a
    zone of one direction only, `--zone-orig`, is not read). `timeout` is the seconds that it had left.
    """

    id: int
    original: Tuple
    reply: Tuple
    status: int
    tcp_state: str | None = None
    mark: int | None = None
    zone: int | None = None
    timeout: int | None = None

    @property
    def status_names(self) -> tuple[str, ...]:
        """The names of the status bits that are set."""
        return status_names(self.status)

    def updated(self, newer: Entry) -> Entry:
        """This entry after an event of the same id: the last of all that may change and was told."""
        return replace(
            self,
            status=newer.status or self.status,
            tcp_state=newer.tcp_state or self.tcp_state,
            mark=self.mark if newer.mark is None else newer.mark,
            zone=self.zone if newer.zone is None else newer.zone,
            timeout=self.timeout if newer.timeout is None else newer.timeout,
        )


TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
"""enum tcp_conntrack of nf_conntrack_tcp.h."""
