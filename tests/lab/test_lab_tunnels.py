"""Packets through VXLAN tunnels on the real kernel: each names the datagram that carried it, and is named by it."""

from __future__ import annotations

import asyncio
import copy
import socket
import struct

from netemu import Journey, Lab, Record, Topology

ENDS = {
    "name": "tunnels",
    "networks": {"lan": {}},
    "hosts": {
        "B": {
            "interfaces": {
                "eth0": {"network": "lan", "addresses": ["10.0.0.1/24"]},
                "vx": {"vxlan": {"id": 42, "remote": "10.0.0.2"}, "addresses": ["10.42.0.1/24"]},
            }
        },
        "C": {
            "interfaces": {
                "eth0": {"network": "lan", "addresses": ["10.0.0.2/24"]},
                "vx": {"vxlan": {"id": 42, "remote": "10.0.0.1"}, "addresses": ["10.42.0.2/24"]},
            }
        },
    },
}


def routed() -> dict:
    """B and C on two networks, R between them."""
    topology = copy.deepcopy(ENDS) | {"networks": {"lan": {}, "far": {}}}
    b, c = topology["hosts"]["B"], topology["hosts"]["C"]
    c["interfaces"]["eth0"] = {"network": "far", "addresses": ["10.1.0.2/24"]}
    b["interfaces"]["vx"]["vxlan"]["remote"] = "10.1.0.2"
    b["routes"] = [{"to": "default", "via": "10.0.0.254"}]
    c["routes"] = [{"to": "default", "via": "10.1.0.254"}]
    topology["hosts"]["R"] = {
        "forwarding": True,
        "interfaces": {
            "eth0": {"network": "lan", "addresses": ["10.0.0.254/24"]},
            "eth1": {"network": "far", "addresses": ["10.1.0.254/24"]},
        },
    }
    return topology


async def asked(lab: Lab, *questions: bytes) -> None:
    """Questions through the tunnel from B to C, each answered before the next."""
    loop = asyncio.get_running_loop()
    with lab["B"].open_socket(kind=socket.SOCK_DGRAM) as one, lab["C"].open_socket(kind=socket.SOCK_DGRAM) as other:
        other.bind(("10.42.0.2", 7))
        for question in questions:
            await loop.sock_sendto(one, question, ("10.42.0.2", 7))
            data, sender = await asyncio.wait_for(loop.sock_recvfrom(other, 100), 10)
            await loop.sock_sendto(other, data, sender)
            assert await asyncio.wait_for(loop.sock_recv(one, 100), 10) == question


async def pinged(lab: Lab) -> None:
    """An ICMP echo through the tunnel, over a raw socket."""
    loop = asyncio.get_running_loop()
    head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    total = ~sum(struct.unpack("!4H", head)) & 0xFFFF
    request = head[:2] + struct.pack("!H", total) + head[4:]
    with lab["B"].open_socket(kind=socket.SOCK_RAW, proto=socket.IPPROTO_ICMP) as sock:
        await loop.sock_sendto(sock, request, ("10.42.0.2", 0))
        assert (await asyncio.wait_for(loop.sock_recv(sock, 100), 10))[20] == 0


def told(record: Record) -> list[Journey]:
    """The packets inside, after it was seen that each and what carried it name each other, and nothing else does."""
    inside = [each for each in record.journeys if each.first.headers.src.startswith("10.42.")]
    by_id = {each.id: each for each in record.journeys}
    for each in inside:
        assert [(str(each.sightings[hop.place].point)[2:], hop.among) for hop in each.tunnels] == [("vx out", 1)]
        (carrier,) = (by_id[id] for id in each.carried_by)
        assert (carrier.carries, carrier.carries_among) == (each.id, 1)
        assert (carrier.first.headers.proto, carrier.first.point.host) == ("udp", each.first.point.host)
        assert carrier.complete
    carrying = {each.id for each in record.journeys if each.carries is not None or each.carries_among}
    assert carrying == {id for each in inside for id in each.carried_by}
    assert all(each.certain for each in inside)
    return inside


def wires(journey: Journey) -> list[str]:
    return [str(seen.point) for seen in journey.sightings if seen.point.interface]


async def test_datagrams_and_echoes_through_a_tunnel_name_what_carried_them():
    async with Lab(Topology.model_validate(ENDS)) as lab:
        async with lab.record() as record:
            await asked(lab, b"one", b"two", b"one")
            await pinged(lab)
        inside = told(record)
    assert [wires(each) for each in inside] == [["B:vx out", "C:vx in"], ["C:vx out", "B:vx in"]] * 4
    assert [each.first.headers.proto for each in inside] == ["udp"] * 6 + ["icmp"] * 2


async def test_a_tunnel_through_a_router_is_the_same():
    async with Lab(Topology.model_validate(routed())) as lab:
        async with lab.record() as record:
            await asked(lab, b"one", b"two")
        inside = told(record)
        carriers = [record.journeys[each.carried_by[0] - 1] for each in inside]
    there = ["B:eth0 out", "R:eth0 in", "R:eth1 out", "C:eth0 in"]
    back = ["C:eth0 out", "R:eth1 in", "R:eth0 out", "B:eth0 in"]
    assert [wires(each) for each in carriers] == [there, back] * 2


async def test_a_tunnel_whose_datagrams_are_rewritten_on_their_way_is_the_same():
    topology = routed()
    # C knows of 10.1.0.254 alone: R masquerades what B sends, and sends what comes back on to B
    topology["hosts"]["C"]["interfaces"]["vx"]["vxlan"]["remote"] = "10.1.0.254"
    topology["hosts"]["R"]["iptables"] = (
        "*nat\n"
        "-A PREROUTING -i eth1 -p udp --dport 4789 -j DNAT --to-destination 10.0.0.1\n"
        "-A POSTROUTING -o eth1 -p udp --dport 4789 -j SNAT --to-source 10.1.0.254\n"
        "COMMIT\n"
    )
    async with Lab(Topology.model_validate(topology)) as lab:
        async with lab.record() as record:
            await asked(lab, b"one", b"two")
        inside = [each for each in told(record) if each.first.point.host == "B"]
        carriers = [record.journeys[each.carried_by[0] - 1] for each in inside]
    assert [each.sightings[-1].headers.src for each in carriers] == ["10.1.0.254"] * 2
    assert [wires(each)[-1] for each in carriers] == ["C:eth0 in"] * 2


async def test_a_packet_whose_datagram_a_rule_dropped_says_that_none_was_seen():
    topology = copy.deepcopy(ENDS)
    topology["hosts"]["B"]["iptables"] = "*filter\n-A OUTPUT -p udp --dport 4789 -j DROP\nCOMMIT\n"
    async with Lab(Topology.model_validate(topology)) as lab:
        async with lab.record() as record:
            with lab["B"].open_socket(kind=socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)  # which asks for no neighbour
                await asyncio.get_running_loop().sock_sendto(sock, b"all", ("10.42.0.255", 7))
        inside = [each for each in record.journeys if "B:vx out" in wires(each)]
        dropped = [each for each in record.journeys if each.end.kind == "dropped"]
    assert [[(hop.carrier, hop.among) for hop in each.tunnels] for each in inside] == [[(None, 0)]]
    assert [(each.first.headers.dport, each.carries, each.carries_among) for each in dropped] == [(4789, None, 0)]
