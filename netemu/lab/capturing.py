"""`capture`: what passes some points of a lab that is up, as pcapng while it happens, over sockets of its own."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from netemu.errors import UsageError
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.filters import Matcher
from netemu.kernel.taps.packet import What
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.trace import TraceTap
from netemu.lab.inside import Inside
from netemu.lab.stream import Stream
from netemu.lab.taps import BUFFER
from netemu.record.capture import OUTGOING, TAP_TABLE, HostCapture
from netemu.record.files.pcapng import RAW_IP, CapturedPacket, CaptureInterface, header, packet, statistics
from netemu.record.join.passes import read_passes
from netemu.topology.naming import hint
from netemu.topology.points import HOOK_STAGES
from netemu.topology.tracing import EVERYTHING, Tracing

_BOTH_WAYS = ("in", "out")
_HOOK_TIME = "the kernel tells no time at a hook: packets have that at which they were read"
_TOGETHER = "what is said to be dropped here was of any interface of the host"


@dataclass(frozen=True, slots=True)
class Captured:
    """How a capture went: packets written, packets lost (dropped, or not taken by the reader), and why it ended.

    `why` is `stopped` (by a signal), `reader` (it went), `lab` (it went down), or `count`.
    """

    packets: int
    lost: int
    why: str


@dataclass(slots=True)
class Wanted:
    """What is wanted of one host: interfaces by name, each with its ways (none named: all, if `wires`), hook stages.

    `whole`: the host itself was named.
    """

    wires: bool = False
    interfaces: dict[str, set[str]] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    whole: bool = False


def wanted_at(points: Sequence[str], hosts: Sequence[str]) -> dict[str, Wanted]:
    """What points mean: `B` (all its interfaces), `B:eth0`, `B:eth0 in`, `B@prerouting.nat`. Raises UsageError."""
    found: dict[str, Wanted] = {}
    for point in points:
        host = host_of(point)
        if host not in hosts:
            raise UsageError(
                f"'{point}' is no point of this lab{hint(host, list(hosts))}: write B, B:eth0 or B@forward"
            )
        what, rest = found.setdefault(host, Wanted()), point[len(host) + 1 :]
        if point == host:
            what.wires, what.whole = True, True
        elif point[len(host)] == ":":
            what.wires = True
            name, _, way = rest.partition(" ")
            if way not in ("", *_BOTH_WAYS):
                raise UsageError(f"'{point}' is no point: write B:eth0, 'B:eth0 in' or 'B:eth0 out'")
            what.interfaces.setdefault(name, set()).update({way} if way else _BOTH_WAYS)
        elif rest in HOOK_STAGES:
            what.stages += [rest] if rest not in what.stages else []
        else:
            raise UsageError(f"no hook stage '{rest}': there are {', '.join(HOOK_STAGES)}")
    for what in found.values():
        what.interfaces = {} if what.whole else what.interfaces
    return found


def host_of(point: str) -> str:
    """The host that a point names."""
    return re.split("[:@]", point, maxsplit=1)[0]


class _File:
    """The capture file's interfaces, in the order in which they are first needed, and what each saw."""

    def __init__(self) -> None:
        self.interfaces: list[CaptureInterface] = []
        self.counts: list[int] = []

    def add(self, interface: CaptureInterface) -> int:
        self.interfaces.append(interface)
        self.counts.append(0)
        return len(self.interfaces) - 1


class _Wires:
    """The frames of a host's interfaces."""

    def __init__(self, net: NetworkNamespace, wanted: Wanted, filter: str, file: _File) -> None:
        with net.entered():
            there = {name: index for index, name in socket.if_nameindex()}
        if strange := [name for name in wanted.interfaces if name not in there]:
            raise UsageError(f"host {net.name} has no interface '{strange[0]}': there are {', '.join(there)}")
        names = list(wanted.interfaces or there)
        self.host, self.file = net.name, file
        about = _TOGETHER if len(names) > 1 else ""
        self.numbers = {
            there[name]: file.add(CaptureInterface(f"{net.name}:{name}", description=about)) for name in names
        }
        self.ways = {there[name]: ways for name, ways in wanted.interfaces.items()}
        self.first = next(iter(self.numbers.values()))
        self.everything = not wanted.interfaces
        only = next(iter(self.numbers)) if len(wanted.interfaces) == 1 else 0
        self.ring = Ring(net, What(only, filter, canaries=False), lane=False)
        self.sock = self.ring.sock

    def open(self) -> None:
        self.ring.open()

    def take(self, *, everything: bool) -> Iterator[CapturedPacket]:
        """The packets that came since the last call."""
        if everything:
            self.ring.drain()
        else:
            self.ring.receive()
        for frame in self.ring.frames():
            number = self.numbers.get(frame.interface)
            if number is None:
                if not self.everything:
                    continue
                number = self.file.add(CaptureInterface(f"{self.host}:interface {frame.interface}"))
                self.numbers[frame.interface] = number
            outgoing = frame.kind == OUTGOING
            if ("out" if outgoing else "in") not in self.ways.get(frame.interface, _BOTH_WAYS):
                continue
            length = max(frame.length, len(frame.data))
            yield CapturedPacket(number, frame.time_ns, frame.data, length, outgoing)

    def lost(self) -> int:
        return self.ring.lost()

    def close(self) -> None:
        self.ring.close()


class _Hooks:
    """What a host's hooks see, over a table of this capture's own."""

    def __init__(self, net: NetworkNamespace, wanted: Wanted, filter: str, file: _File, tracing: Tracing) -> None:
        self.matcher = Matcher(filter, raw=True) if filter else None
        self.name = f"{TAP_TABLE}-{secrets.token_hex(4)}"
        about = f"{_HOOK_TIME}; the tap {tracing.left_out}" if tracing.left_out else _HOOK_TIME
        self.numbers = {
            HOOK_STAGES.index(stage): file.add(CaptureInterface(f"{net.name}@{stage}", RAW_IP, about))
            for stage in wanted.stages
        }
        self.first = next(iter(self.numbers.values()))
        self.host = net.name
        self.tap = TraceTap(net, BUFFER, ask_conntrack=False, tracing=tracing, name=self.name)
        self.sock = self.tap.sock

    def open(self) -> None:
        """It is ready from the beginning."""

    def take(self, *, everything: bool) -> Iterator[CapturedPacket]:
        """The packets that came since the last call."""
        while self.tap.receive() and (everything or self.tap.count < _MANY):
            pass
        now = time.time_ns()
        passes = read_passes(HostCapture(self.host, {}, trace=self.tap.datagrams(), table=self.name))
        events = passes.events
        for stage, event in sorted(zip(passes.stage.tolist(), passes.event.tolist(), strict=True), key=lambda p: p[1]):
            if stage not in self.numbers:
                continue
            network = events.bytes_at(int(events.network[event]), int(events.network_length[event]))
            data = network + events.bytes_at(int(events.transport[event]), int(events.transport_length[event]))
            if self.matcher is None or self.matcher.takes(data):
                yield CapturedPacket(self.numbers[stage], now, data, max(_length(data), len(data)))

    def lost(self) -> int:
        return self.tap.lost()

    def close(self) -> None:
        self.tap.close()


_MANY = 20_000
"""Trace messages that are taken at once."""


def _length(data: bytes) -> int:
    """How long an IP packet says it is."""
    return 40 + int.from_bytes(data[4:6], "big") if data[0] >> 4 == 6 else int.from_bytes(data[2:4], "big")


def capture(
    here: Inside,
    wanted: dict[str, Wanted],
    out: int | Callable[[], int],
    *,
    filter: str = "",
    count: int | None = None,
    tracing: Mapping[str, Tracing] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Captured:
    """Write what passes as pcapng to a descriptor, until something ends it. Raises UsageError, CaptureError.

    `out` is the descriptor, or what gives it: called once everything is bound, so that a file is touched only then.
    `ready` is called next.
    """
    file, taps = _File(), list[_Wires | _Hooks]()
    with ExitStack() as stack:
        for host, what in wanted.items():
            net = here.nets[host]
            if what.wires:
                taps.append(_Wires(net, what, filter, file))
                stack.callback(taps[-1].close)
            if what.stages:
                taps.append(_Hooks(net, what, filter, file, (tracing or {}).get(host, EVERYTHING)))
                stack.callback(taps[-1].close)
        for tap in taps:
            tap.open()
        stream = stack.enter_context(Stream(out if isinstance(out, int) else out(), here.holder))
        ready()
        return _Writer(file, taps, stream, count).run()


class _Writer:
    """Takes from the taps and writes, until the end."""

    def __init__(self, file: _File, taps: list[_Wires | _Hooks], stream: Stream, count: int | None) -> None:
        self.file = file
        self.taps = taps
        self.stream = stream
        self.left = count
        self.told = len(file.interfaces)
        self.written = self.not_taken = 0

    def run(self) -> Captured:
        self.stream.write(header(self.file.interfaces))
        while self.left != 0 and self.stream.wait([tap.sock for tap in self.taps]):
            self._pass_on()
        whole = not self.not_taken
        why: str = self.stream.why or "count"
        if self.left != 0:
            self._pass_on(everything=True)
            whole = not self.not_taken
        dropped = [tap.lost() for tap in self.taps]
        if whole and self.stream.why != "reader":
            firsts = {tap.first: lost for tap, lost in zip(self.taps, dropped, strict=True)}
            ends = [
                replace(each, seen=self.file.counts[number], dropped=firsts.get(number))
                for number, each in enumerate(self.file.interfaces)
            ]
            self.stream.write(statistics(ends, time.time_ns()))
        return Captured(self.written, sum(dropped) + self.not_taken, why)

    def _pass_on(self, *, everything: bool = False) -> None:
        packets = [each for tap in self.taps for each in tap.take(everything=everything)]
        packets.sort(key=lambda each: each.time_ns)
        if self.left is not None:
            packets = packets[: self.left]
        blocks = [packet(each) for each in packets]
        fresh = header(self.file.interfaces[self.told :])[len(header(())) :]
        self.told = len(self.file.interfaces)
        took = max(self.stream.write_each([fresh, *blocks]) - 1, 0)
        for each in packets[:took]:
            self.file.counts[each.interface] += 1
        self.written += took
        if self.stream.why != "reader":
            self.not_taken += len(packets) - took
        if self.left is not None:
            self.left -= took
