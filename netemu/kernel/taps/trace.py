"""Hook taps: a table of accepting chains at every stage, and the trace events that the kernel sends of each.

`accept` ends only the tap's own base chain, so the rules under test see the same packets as without it. No tap
mentions `ct` where the trace itself carries the conntrack state (Linux 6.16): doing so would switch connection
tracking on. On older kernels a tap asks for it only in a host whose own rules track already.
"""

from __future__ import annotations

import socket
import zlib
from contextlib import ExitStack

from netemu.errors import CaptureError
from netemu.kernel.keeping.store import Room
from netemu.kernel.rules.nftables import LASTING, Nftables
from netemu.kernel.spaces.descriptors import moved
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.netlink import GroupReader
from netemu.kernel.taps.proof import Proof
from netemu.netfilter.conntrack import DST_NAT_DONE, SRC_NAT_DONE, Direction, PacketConntrack, State
from netemu.netfilter.hooks import STAGES, START_PRIORITY, STARTS
from netemu.netfilter.ruleset import listed_rules
from netemu.record.capture import START, TAP_TABLE
from netemu.topology.tracing import EVERYTHING, Tracing

_GROUP = 9
"""NFNLGRP_NFTRACE."""
CANARY_PROTOCOL = 253
"""RFC 3692: for experiments and testing."""

_TRACKED: tuple[tuple[State, Direction], ...] = (
    ("new", "original"),
    ("established", "original"),
    ("established", "reply"),
    ("related", "original"),
    ("related", "reply"),
)
STATES: tuple[PacketConntrack, ...] = (
    *(
        PacketConntrack(state, direction, known_manips=bits)
        for state, direction in _TRACKED
        for bits in (0, SRC_NAT_DONE, DST_NAT_DONE, SRC_NAT_DONE | DST_NAT_DONE)
    ),
    PacketConntrack("invalid"),
    PacketConntrack("untracked"),
)
"""What a tap's rules tell apart where the trace carries no conntrack state."""


def canary_address(name: str) -> str:
    """Where the canaries of the tap with this table go: a loopback address that is its own."""
    number = zlib.crc32(name.encode())
    return f"127.{number & 0x7F}.{number >> 8 & 0xFF}.{number >> 16 & 0xFE | 1}"


def table(ask_conntrack: bool, tracing: Tracing = EVERYTHING, name: str = TAP_TABLE) -> str:
    """The tap's nft table, as nft reads it. Canaries of other taps pass its first chain without a trace.

    Where nothing is to be traced there is no hook but the canary's: a packet passes each one at a price.
    """
    lines = [f"table inet {name} {{", "flags owner;"]
    if tracing.kind == "first":
        lines += [_SEEN_SET.format(hook=hook, family=family) for hook in STARTS for family in (4, 6)]
    for hook in STARTS if tracing.kind != "off" else ("output",):
        lines.append(f"chain {START}{hook} {{ type filter hook {hook} priority {START_PRIORITY}; policy accept;")
        if hook == "output":
            lines.append(f"ip daddr {canary_address(name)} ip protocol {CANARY_PROTOCOL} meta nftrace set 1 drop")
            lines.append(f"ip daddr 127.0.0.0/8 ip protocol {CANARY_PROTOCOL} accept")
        lines += [*(f"{match} meta nftrace set 1 accept" for match in _traced(tracing, hook)), "}"]
    for stage in STAGES if tracing.kind != "off" else ():
        lines.append(f"chain {stage.name} {{ type filter hook {stage.hook} priority {stage.priority}; policy accept;")
        lines += [f"{_matches(state)} accept" for state in STATES] if ask_conntrack else []
        lines += ["accept", "}"]
    return "\n".join([*lines, "}"])


_SEEN_SET = (
    "set {hook}{family} {{ type ipv{family}_addr . ipv{family}_addr . inet_proto . inet_service . inet_service;"
    " flags dynamic,timeout; timeout 10m; size 65535; }}"
)
"""One direction of a connection each, with a limit that lets its first packets through and then one a day."""


def _traced(tracing: Tracing, hook: str) -> list[str]:
    """What has to match for a packet to be traced, in as many rules; none of it asks for connection tracking."""
    if tracing.kind == "all":
        return [""]
    if tracing.kind == "one in":
        return [f"numgen inc mod {tracing.number} 0"]
    if tracing.kind == "off":
        return []
    few = f"meta l4proto . th sport . th dport limit rate 1/day burst {tracing.number} packets }}"
    ports = "meta l4proto { tcp, udp, sctp, dccp, udplite }"
    return [
        f"{ports} update @{hook}4 {{ ip saddr . ip daddr . {few}",
        f"{ports} update @{hook}6 {{ ip6 saddr . ip6 daddr . {few}",
        "meta l4proto != { tcp, udp, sctp, dccp, udplite }",
    ]


def _matches(state: PacketConntrack) -> str:
    if state.direction is None:
        return f"ct state {state.state}"
    done = SRC_NAT_DONE | DST_NAT_DONE
    return (
        f"ct state {state.state} ct direction {state.direction} ct status & {done:#x} == {state.known_manips or 0:#x}"
    )


class TraceTap(GroupReader):
    """Stores the trace events of one host, and knows its own canaries. Its chains go when it is closed.

    Several taps of one host need tables of different names (capture.py tells which names are taps').
    """

    def __init__(
        self,
        net: NetworkNamespace,
        buffer: int,
        ask_conntrack: bool,
        room: Room | None = None,
        tracing: Tracing = EVERYTHING,
        name: str = TAP_TABLE,
    ) -> None:
        super().__init__(net, (_GROUP,), buffer, room)
        self.net = net
        self.tracing = tracing
        self.name = name
        self.states: dict[tuple[str, int], PacketConntrack] = {}
        self._awaited: set[bytes] = set()
        self._proof = Proof()
        with ExitStack() as undo:
            undo.callback(self.sock.close)
            try:
                with net.entered():
                    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, CANARY_PROTOCOL)
                self.sender = undo.enter_context(moved(sender))
            except OSError as error:
                raise CaptureError(f"host {net.name}: no hook tap: {error.strerror}") from error
            self.nft = Nftables(net, LASTING)
            undo.callback(self.nft.close)
            self.nft.run(table(ask_conntrack, tracing, name))
            if ask_conntrack and tracing.kind != "off":
                self.states = self._read_states()
            undo.pop_all()

    def _read_states(self) -> dict[tuple[str, int], PacketConntrack]:
        handles: dict[str, list[int]] = {}
        for rule in listed_rules(self.nft.list(f"list table inet {self.name}")).rules:
            handles.setdefault(rule.chain, []).append(rule.handle or 0)
        return {
            (stage.name, handle): state
            for stage in STAGES
            for handle, state in zip(handles[stage.name], STATES, strict=False)
        }

    def send_canary(self, nonce: bytes) -> None:
        """Send a packet that the tap's first chain traces and drops, so that no rule under test sees it."""
        self._latest = nonce
        self._awaited.add(nonce)
        self._proof.begin()
        try:
            self.sender.sendto(nonce, (canary_address(self.name), 0))
        except PermissionError:
            pass  # the drop, as the sender is told of it

    async def proven(self) -> None:
        """Return once the canary's event was seen: every event before it is stored by then."""
        await self._proof.wait()

    @property
    def picks(self) -> bool:
        """While canaries are awaited."""
        return bool(self._awaited)

    def wanted(self, datagrams: list[bytes]) -> list[bytes]:
        """All events but canaries'."""
        return [each for each in datagrams if not self._is_canary(each)]

    def _is_canary(self, event: bytes) -> bool:
        seen = next((nonce for nonce in self._awaited if nonce in event), None)
        if seen is None:
            return False
        self._awaited.discard(seen)
        if seen == self._latest:
            self._proof.seen()
        return True

    def close(self) -> None:
        """Close, after `stop`, and take the chains away; once is enough, twice does no harm."""
        super().close()
        self.sender.close()
        self.nft.close()
