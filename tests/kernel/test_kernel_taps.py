"""Wire taps, hook taps and conntrack taps on a veth pair between two namespaces, on the real kernel."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from ipaddress import ip_address, ip_network

import pytest
from record_passes import passes, trace_events
from veth_pair import LEFT, RIGHT, send

from netemu.errors import KernelError
from netemu.kernel.processes.listening import Listening
from netemu.kernel.rules.loading import load_rules, read_rules
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.taps.ring import Ring
from netemu.kernel.taps.trace import TraceTap
from netemu.kernel.taps.tracking import ConntrackTap, dump_entries
from netemu.kernel.taps.wire import WireTap, new_nonce, send_canary, sending_socket
from netemu.netfilter.hooks import STAGES
from netemu.record.capture import OUTGOING, HostCapture
from netemu.record.flows import read_entries
from netemu.topology.tracing import Tracing

BUFFER = 1 << 20


def wire_tap(net: NetworkNamespace, size: int = BUFFER) -> WireTap:
    ring = Ring(net, size=size)
    ring.open()
    return WireTap(ring)


def close(*taps) -> None:
    for tap in taps:
        tap.close()


async def test_canaries_prove_both_ways_of_a_wire_and_stay_out_of_the_record(pair, reader):
    taps = [wire_tap(net) for net in pair.nets]
    await pair.up()
    nonce = new_nonce()
    for tap, net in zip(taps, pair.nets, strict=True):
        reader.add(tap.source)
        tap.expect_canaries(nonce, pair.eth0(net))
    assert taps[0].missing == ["eth0 in", "eth0 out"]
    senders = [sending_socket(net) for net in pair.nets]
    for sender in senders:
        send_canary(sender, nonce, "eth0")
    async with asyncio.timeout(5):
        for tap in taps:
            await tap.proven()
    assert not [frame for tap in taps for frame in tap.frames() if frame.data[12:14] == b"\x88\xb5"]
    close(*taps)
    for sender in senders:
        sender.close()


async def test_a_canary_of_another_record_proves_nothing(pair):
    tap = wire_tap(pair.left)
    await pair.up()
    tap.expect_canaries(new_nonce(), pair.eth0(pair.left))
    with sending_socket(pair.left) as sender:
        send_canary(sender, new_nonce(), "eth0")
    tap.drain()
    assert tap.missing == ["eth0 in", "eth0 out"]
    close(tap)


async def test_a_hook_tap_sees_every_stage_of_a_packets_way_out_and_in(pair):
    taps = [TraceTap(net, BUFFER, ask_conntrack=False) for net in pair.nets]
    await pair.up()
    await send(pair)
    stages = []
    for tap, net in zip(taps, pair.nets, strict=True):
        tap.drain()
        found = passes(HostCapture(net.name, {}, trace=tap.datagrams()))
        udp = [each for each in found if each.sightings[0].headers.proto == "udp"]
        stages.append([str(seen.point) for each in udp for seen in each.sightings])
    assert stages[0] == [f"left@{stage}" for stage in ("output", "output.nat", "postrouting", "postrouting.nat")]
    assert stages[1] == [f"right@{stage}" for stage in ("prerouting", "prerouting.nat", "input", "input.nat")]
    close(*taps)


async def test_a_hook_canary_is_proof_and_no_rule_sees_it(pair, reader):
    await load_rules(
        pair.left, "nft", "table ip t {\nchain o {\ntype filter hook output priority -400;\ncounter\n}\n}\n"
    )
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False)
    await pair.up()
    reader.add(tap)
    nonce = new_nonce()
    tap.send_canary(nonce)
    async with asyncio.timeout(5):
        await tap.proven()
    assert not [event for event in trace_events(tap.datagrams()) if nonce in event.transport]
    assert "counter packets 0" in tap.nft.list()
    close(tap)


async def test_a_hook_tap_counts_what_it_drops(pair):
    tap = TraceTap(pair.left, 1, ask_conntrack=False)
    await pair.up()
    tap.forget()
    await send(pair, 50)
    assert tap.lost() > 0
    close(tap)


async def test_closing_a_hook_tap_takes_its_chains_away(pair):
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False)
    close(tap)
    again = TraceTap(pair.left, BUFFER, ask_conntrack=False)
    assert again.nft.list().count("table inet netemu") == 1
    assert all(stage.name in again.nft.list() for stage in STAGES)
    close(again)


async def test_hook_taps_side_by_side_ignore_each_others_tables_rules_and_canaries(pair):
    taps = [TraceTap(pair.left, BUFFER, ask_conntrack=False, name=name) for name in ("netemu", "netemu-1", "netemu-2")]
    await pair.up()
    nonces = [new_nonce() for _ in taps]
    for tap, nonce in zip(taps, nonces, strict=True):
        tap.send_canary(nonce)
    for tap in taps:
        tap.drain()
        async with asyncio.timeout(5):
            await tap.proven()
        datagrams = tap.datagrams()
        own = [event for event in trace_events(datagrams) if event.table == tap.name]
        canaries = [event for event in own if any(nonce in event.transport for nonce in nonces)]
        assert canaries == [], "no canary passes another tap's chains with a trace"
        found = passes(HostCapture("left", {}, trace=datagrams, table=tap.name))
        assert not [seen for each in found for seen in each.sightings if seen.headers.dst.startswith("127.")]
    assert (await read_rules(pair.left)).rules == ()
    for tap in taps:
        close(tap)


async def test_where_the_trace_has_no_conntrack_state_the_taps_own_rules_tell_it(pair):
    """What taps do before Linux 6.16: the first datagram is new with no manip set up, the second has both."""
    await load_rules(pair.left, "iptables", "*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n")
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=True)
    await pair.up()
    await send(pair, 2)
    tap.drain()
    found = passes(HostCapture("left", {}, trace=tap.datagrams(), states=tap.states))
    udp = [each for each in found if each.sightings[0].headers.proto == "udp"]
    told = [(seen.ct.state, seen.ct.direction, seen.ct.manips) for each in udp for seen in each.sightings if seen.ct]
    assert told[0] == ("new", "original", ())
    assert told[1] == ("new", "original", ("dst",)), "after the output nat hook"
    assert told[4:] == [("new", "original", ("src", "dst"))] * 4
    close(tap)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("all", [[6, 6]]),
        ("first 2", [[2, 2]]),
        ("first 6", [[6, 6]]),
        ("1 in 3", [[2, 2], [1, 2], [2, 1], [2, 3], [3, 2], [1, 3], [3, 1]]),
        ("1 in 100", [[], [1]]),
        ("off", [[]]),
    ],
)
async def test_a_hook_tap_traces_as_much_as_it_is_told(pair, text, counts):
    """Six datagrams from each of two sockets. IPv6's own packets count in `1 in N` as well."""
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False, tracing=Tracing.parse(text))
    await pair.up()
    for _ in range(2):
        await send(pair, 6)
    tap.drain()
    found = [each.sightings for each in passes(HostCapture("left", {}, trace=tap.datagrams()))]
    ports = Counter(seen[0].headers.sport for seen in found if seen[0].headers.proto == "udp")
    assert sorted(ports.values()) in [sorted(each) for each in counts]
    assert all(len(seen) == 4 for seen in found if seen[0].headers.proto == "udp"), "at every stage, or at none"
    assert read_entries(await dump_entries(pair.left)) == {}, "no connection tracking was switched on for it"
    close(tap)


@pytest.mark.parametrize("text", ["first 2", "1 in 100", "off"])
async def test_a_hook_tap_that_traces_little_proves_itself_all_the_same(pair, reader, text):
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False, tracing=Tracing.parse(text))
    await pair.up()
    reader.add(tap)
    for _ in range(3):
        tap.send_canary(new_nonce())
        async with asyncio.timeout(5):
            await tap.proven()
    close(tap)


async def test_first_packets_are_told_apart_over_ipv6_too(pair):
    tap = TraceTap(pair.left, BUFFER, ask_conntrack=False, tracing=Tracing.parse("first 2"))
    await pair.up()
    with pair.left.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        for _ in range(5):
            sock.sendto(b"x", ("::1", 9))
    tap.drain()
    found = [
        each.sightings for each in passes(HostCapture("left", {}, trace=tap.datagrams())) if each.start == "output"
    ]
    assert sum(seen[0].headers.proto == "udp" for seen in found) == 2
    close(tap)


async def test_conntrack_events_and_the_table_tell_the_same_entry(pair):
    await load_rules(pair.left, "iptables", "*nat\n-A OUTPUT -p udp -j DNAT --to-destination :7\nCOMMIT\n")
    tap = ConntrackTap(pair.left, BUFFER)
    await pair.up()
    with pair.udp(pair.left, LEFT) as sender:
        sender.sendto(b"x", (RIGHT, 9))
        port = sender.getsockname()[1]
    tap.drain()
    told, dumped = read_entries(tap.datagrams()), read_entries(await dump_entries(pair.left))
    assert told.keys() == dumped.keys()
    (entry,) = dumped.values()
    assert (entry.original.dport, entry.reply.sport, entry.original.sport) == (9, 7, port)
    assert tap.lost() == 0
    close(tap)


async def test_a_host_that_tracks_nothing_has_an_empty_table(pair):
    await pair.up()
    await send(pair)
    assert read_entries(await dump_entries(pair.left)) == {}


async def test_listening_ports_are_read_without_sending_anything(pair):
    tap = wire_tap(pair.left)
    listening = Listening(pair.left, "tcp")
    assert listening.ports() == set()
    with pair.left.entered():
        server = socket.create_server(("", 8080))
    assert listening.ports() == {8080}
    server.close()
    listening.close()
    tap.drain()
    assert len(tap.frames()) == 0
    close(tap)


async def test_listening_waits_until_a_port_is_bound(pair):
    listening = Listening(pair.left, "udp")
    waiting = asyncio.create_task(listening.until(5353))
    await asyncio.sleep(0)
    assert not waiting.done()
    with pair.left.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 5353))
    async with asyncio.timeout(5):
        await waiting
    sock.close()
    listening.close()


async def test_a_route_that_leads_nowhere_is_told_with_its_host(pair):
    await pair.up()
    with pytest.raises(KernelError, match=r"host left: route to 10\.0\.0\.0/8"):
        await pair.links[0].add_route(ip_network("10.0.0.0/8"), via=ip_address("198.51.100.1"))


async def test_with_offloads_off_the_wire_holds_finished_checksums_and_no_giant_segments(pair):
    tap = wire_tap(pair.left, 16 << 20)
    await pair.up()
    with pair.right.entered():
        server = socket.create_server((RIGHT, 80))
    with pair.left.entered():
        client = socket.socket()
    client.connect((RIGHT, 80))
    accepted, _ = server.accept()
    client.sendall(b"x" * 20_000)
    client.close()
    while accepted.recv(65536):
        pass
    tap.drain()
    frames = [frame.data for frame in tap.frames() if frame.data[23:24] == b"\x06" and frame.kind == OUTGOING]
    assert max(map(len, frames)) <= 1514
    assert all(tcp_checksum(frame) == 0 for frame in frames)
    for sock in (server, accepted):
        sock.close()
    close(tap)


def tcp_checksum(frame: bytes) -> int:
    """0 where the checksum in the frame is right (RFC 9293, 3.1)."""
    segment = frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
    data = frame[26:34] + b"\x00\x06" + len(segment).to_bytes(2, "big") + segment
    total = sum(int.from_bytes(data[place : place + 2].ljust(2, b"\0"), "big") for place in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
