"""How a packet's journey ended, and why, as far as the kernel told: by a rule that dropped it, or by an ICMP error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netemu.record.join.quotes import Quote
from netemu.record.join.sightings import Sightings
from netemu.record.join.turn import RuleTurn
from netemu.topology.points import Point

EndKind = Literal["delivered", "dropped", "unseen", "reassembled"]
Why = Literal[
    "rule",
    "rejected",
    "ttl",
    "no-route",
    "unreachable",
    "refused",
    "mtu",
    "prohibited",
    "reassembly",
    "checksum",
]
ENDS: tuple[EndKind, ...] = ("delivered", "dropped", "unseen", "reassembled")
"""By forest.py's numbers."""


@dataclass(frozen=True, slots=True)
class End:
    """How a journey ended: `delivered` to a host's own stack, `dropped` by a rule, or `unseen` from there on.

    A fragment that began where nobody recorded ends `reassembled` where a host put it together with others.

    `place` is that of the last sighting. `why` is what the kernel told: by the rule that dropped the packet, or by an
    ICMP error from that host which quotes it (`error`); or that it came there with a wrong `checksum`, for which the
    kernel takes it no further (`damaged`); None where nothing tells.
    """

    kind: EndKind
    at: Point
    turn: RuleTurn | None = None
    place: int = 0
    why: Why | None = None
    error: Quote | None = None


_REJECTS = re.compile(r"\b(REJECT|reject)\b")
_SAYS: dict[str, Why] = {
    "time-exceeded": "ttl",
    "reassembly-time-exceeded": "reassembly",
    "net-unreachable": "no-route",
    "no-route": "no-route",
    "reject-route": "no-route",
    "net-unknown": "no-route",
    "host-unreachable": "unreachable",
    "host-unknown": "unreachable",
    "address-unreachable": "unreachable",
    "fragmentation-needed": "mtu",
    "packet-too-big": "mtu",
    "admin-prohibited": "prohibited",
    "net-prohibited": "prohibited",
    "host-prohibited": "prohibited",
    "policy-failed": "prohibited",
    "port-unreachable": "refused",
    "protocol-unreachable": "refused",
}


def why_ended(kind: str, turn: RuleTurn | None, errors: Sequence[Quote]) -> tuple[Why | None, Quote | None]:
    """Why a packet went no further, by the rule that dropped it and by what its host's errors say of it.

    A port that is said to be unreachable though the packet was never delivered was made so by a rule that rejects
    (its verdict, or one of iptables-legacy that no trace shows).
    """
    error = next((error for error in errors if error.kind in _SAYS), None)
    if turn is not None:
        return "rejected" if _REJECTS.search(turn.text) else "rule", error
    if error is None:
        return None, None
    why = _SAYS[error.kind]
    return ("rejected" if why == "refused" and kind != "delivered" else why), error


def damaged(seen: Sightings, rows: Sequence[int], place: int, kind: str) -> bool:
    """Whether the packet whose sightings these rows are came to where it ended with a checksum that ends it there.

    Of IP's header before the first hook (ip_rcv); of the transport behind the last one (tcp_v4_rcv, udp_rcv, icmp_rcv
    and their likes of IPv6), so that it was delivered to a host and got to nobody.
    """
    host = seen.points[seen.point[rows[place]]].host
    for before in range(place, -1, -1):
        point = seen.points[seen.point[rows[before]]]
        if point.way == "in" and point.host == host:
            ip, carried = seen.checksums_of(rows[before])
            return carried == "wrong" if kind == "delivered" else kind == "unseen" and before == place and ip == "wrong"
    return False
