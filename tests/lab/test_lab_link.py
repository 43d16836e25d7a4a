"""A live lab's link headers: ARP that a datagram provokes, and what a VXLAN tunnel carries."""

from __future__ import annotations

import polars as pl
import pytest

from netemu import Lab, Record
from netemu.record.decode.link import mac_text
from netemu.topology.load import loads

PAIR = """
name: pair
hosts:
  A: {interfaces: {eth0: {addresses: [10.0.0.1/24], mac: "02:00:00:00:00:0a"}}}
  B: {interfaces: {eth0: {addresses: [10.0.0.2/24], mac: "02:00:00:00:00:0b"}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
traffic: [{name: ask, from: A, udp: {to: "10.0.0.2:5353", answers: 0}}]
"""
TUNNEL = """
name: tunnelled
hosts:
  A:
    interfaces:
      eth0: {addresses: [10.0.0.1/24]}
      tunnel: {vxlan: {id: 42, dev: eth0, remote: 10.0.0.2, port: 8472}, addresses: [10.42.0.1/24]}
  B:
    interfaces:
      eth0: {addresses: [10.0.0.2/24]}
      tunnel: {vxlan: {id: 42, dev: eth0, remote: 10.0.0.1, port: 8472}, addresses: [10.42.0.2/24]}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
traffic: [{name: ask, from: A, udp: {to: "10.42.0.2:5353", answers: 0}}]
"""
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


async def recorded(text: str) -> Record:
    topology, _ = loads(text)
    async with Lab(topology) as lab, lab.record() as record:
        await lab.send("ask")
    return record


async def test_a_datagram_to_a_neighbour_not_known_yet_provokes_arp_that_both_ends_tell():
    record = await recorded(PAIR)
    asked = record.arp(op="request", sender="10.0.0.1", target="10.0.0.2")
    answered = record.arp(op="reply", sender="10.0.0.2", target="10.0.0.1")
    assert [str(seen.point) for seen in asked] == ["A:eth0 out", "B:eth0 in"]
    assert [str(seen.point) for seen in answered] == ["B:eth0 out", "A:eth0 in"]
    assert {seen.sender_mac for seen in asked} == {A}
    assert {(seen.sender_mac, seen.target_mac) for seen in answered} == {(B, A)}
    times = [seen.time_ns for seen in (*asked, *answered)]
    (sent,) = record.sightings("udp dst port 5353", at="A:eth0 out")
    assert times == sorted(times)
    assert times[-1] <= sent.time_ns
    assert asked == [seen for seen in record.arp if seen.op == "request" and seen.sender == "10.0.0.1"]
    ops = record.link("A").arp_op
    assert {mac_text(mac) for mac in record.link("A").src_mac[ops == 2].tolist()} == {B}


async def test_the_table_of_frames_has_arp_and_the_datagram_that_waited_for_it():
    table = (await recorded(PAIR)).frames_table()
    sent = table.filter((pl.col("point") == "A:eth0 out") & ((pl.col("arp_op") == 1) | (pl.col("dport") == 5353)))
    assert sent.select("arp_target", "dst", "dst_mac", "mark").rows() == [
        ("10.0.0.2", None, "ff:ff:ff:ff:ff:ff", "whole"),
        (None, "10.0.0.2", B, "whole"),
    ]


@pytest.mark.parametrize("host", ["A", "B"])
async def test_what_a_tunnel_carries_is_told_beside_the_frame_that_carries_it(host: str):
    record = await recorded(TUNNEL)
    table = record.frames_table([8472]).filter(pl.col("host") == host)
    (inner,) = table.filter(pl.col("point").str.starts_with(f"{host}:eth0") & (pl.col("inner_dport") == 5353)).rows(
        named=True
    )
    (seen,) = table.filter(pl.col("point").str.starts_with(f"{host}:tunnel") & (pl.col("dport") == 5353)).rows(
        named=True
    )
    assert (inner["vni"], inner["dst"], inner["dport"]) == (42, "10.0.0.2", 8472)
    names = ("mark", "dst_mac", "src_mac", "proto", "src", "sport", "dst", "dport")
    assert [inner[f"inner_{name}"] for name in names] == [seen[name] for name in names]
    asked = record.arp(at=f"{host}:tunnel", target="10.42.0.2", op="request")
    assert len(asked) == table.filter((pl.col("inner_ethertype") == 0x0806) & (pl.col("vni") == 42)).height // 2 == 1
    assert set(record.frames_table()["vni"].to_list()) == {None}
