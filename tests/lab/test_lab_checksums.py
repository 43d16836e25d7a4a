"""Checksums as the kernel leaves them on wires and makes packets end for them; offloads leave them unfinished."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from netemu import Lab
from netemu.check.explain import Surroundings, last_seen
from netemu.topology.load import loads

PAIR = """
name: checksums
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.1/24, "fd00::1/64"], mac: "02:00:00:00:00:01", offloads: OFFLOADS}}
  B:
    interfaces: {eth0: {addresses: [10.0.0.2/24, "fd00::2/64"], mac: "02:00:00:00:00:02", offloads: OFFLOADS}}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
"""
ETHERNET = bytes.fromhex("020000000002020000000001")
TO_ALL = 3


def pair(offloads: str = "false", *, network: bool = False):
    text = PAIR.replace("OFFLOADS", offloads)
    if network:
        text = text.replace("links: [", "networks: {lan: {}}\n# [").replace("{eth0: {", "{eth0: {network: lan, ")
    return loads(text)[0]


async def asked(lab: Lab, host: str, address: str):
    """A datagram and a connection to B's address, from a host; recorded until B has them."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab["B"].open_socket(family, 2) as sink, lab["B"].open_socket(family, 1) as server:
        sink.bind((address, 7))
        server.bind((address, 8))
        server.listen()
        for each in (sink, server):
            each.setblocking(False)
        async with lab.record() as record:
            with lab[host].open_socket(family, 2) as source, lab[host].open_socket(family, 1) as client:
                source.sendto(b"question", (address, 7))
                client.setblocking(False)
                async with asyncio.timeout(10):
                    assert await loop.sock_recv(sink, 100) == b"question"
                    await loop.sock_connect(client, (address, 8))
    return record


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
@pytest.mark.parametrize(("offloads", "known"), [("false", "right"), ("true", "unfinished")])
async def test_checksums_are_right_on_wires_and_unfinished_where_offloads_are_on(address, offloads, known):
    async with Lab(pair(offloads)) as lab:
        record = await asked(lab, "A", address)
    seen = record.sightings(f"host {address} and (tcp or udp)")
    wires = [each for each in seen if each.point.stage is None]
    assert {str(each.point) for each in wires} == {"A:eth0 out", "A:eth0 in", "B:eth0 out", "B:eth0 in"}
    assert {each.checksum for each in wires} <= {known, "right"}
    assert {each.checksum for each in wires if each.headers.proto == "udp"} == {known}
    assert {each.ip_checksum for each in seen} == {None if ":" in address else "right"}
    assert {each.checksum for each in seen if each.point.stage is not None} == {"unknown"}
    assert not any(end.why for journey in record.journeys() for end in journey.ends)


async def test_on_loopback_nobody_computes_them_and_they_are_not_wrong():
    async with Lab(pair()) as lab:
        record = await asked(lab, "B", "10.0.0.2")
    wires = list(record.sightings("udp", at="B:lo"))
    assert {each.checksum for each in wires} == {"unfinished"}


def datagram(ip: int = 0, udp: int = 0) -> bytes:
    """A datagram of A's to B, with so much added to its checksums."""
    transport = struct.pack("!HHHH", 4000, 7, 16, 0) + b"question"
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    whole = _checksum(addresses + struct.pack("!HH", 17, len(transport)) + transport)
    transport = transport[:6] + (whole ^ udp).to_bytes(2, "big") + transport[8:]
    network = struct.pack("!BBHHHBBH", 0x45, 0, 36, 9, 0, 64, 17, 0) + addresses
    network = network[:10] + (_checksum(network) ^ ip).to_bytes(2, "big") + network[12:]
    return ETHERNET + b"\x08\x00" + network + transport


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("network", [False, True], ids=["link", "network"])
@pytest.mark.parametrize(
    ("ip", "udp", "wrong", "ended", "words"),
    [
        (0, 0, (), ("delivered", "B@input.nat", None), "delivered to B itself"),
        (1, 0, ("ip",), ("unseen", "B:eth0 in", "checksum"), "dropped it before its hooks: its IP header's checksum"),
        (0, 1, ("udp",), ("delivered", "B@input.nat", "checksum"), "dropped it behind its hooks: its udp checksum"),
    ],
    ids=["right", "IP", "UDP"],
)
async def test_a_packet_with_a_wrong_checksum_ends_where_the_kernel_drops_it(ip, udp, wrong, ended, words, network):
    async with Lab(pair(network=network)) as lab:
        with lab["B"].open_socket(kind=2) as sink:
            sink.bind(("", 7))
            sink.setblocking(False)
            async with lab.record() as record:
                with lab["A"].open_socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                    wire.bind(("eth0", TO_ALL))
                    wire.send(datagram(ip, udp))
            if wrong:
                with pytest.raises(BlockingIOError):
                    sink.recv(100)
            else:
                assert sink.recv(100) == b"question"
    (journey,) = record.journeys("udp")
    assert journey.sightings[0].wrong_checksums == wrong
    assert (journey.end.kind, str(journey.end.at), journey.end.why) == ended
    assert words in last_seen(journey, Surroundings())
    assert all(f"wrong {name} checksum".encode() in b"".join(record.pcapng()) for name in wrong)
