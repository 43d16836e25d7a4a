"""A record's sightings as a data frame: the same as its journeys tell."""

from __future__ import annotations

import random
import sys

import pytest
from record_nodeport import NodePort
from record_packets import icmp_error, tcp, udp
from record_scene import Scene, new
from record_scenes import any_captures

from netemu.errors import MachineError, UsageError
from netemu.netfilter.conntrack import Entry
from netemu.record.flows import entries_of
from netemu.record.record import Record, build_record
from netemu.record.sighting import Sighting


def entry(entries: dict[tuple[str, int], Entry], seen: Sighting) -> Entry | None:
    """What conntrack last told of the entry that a packet carried at a hook: by its id, else by its tuple."""
    if seen.ct is None:
        return None
    if seen.ct.id is not None:
        return entries.get((seen.point.host, seen.ct.id))
    if seen.ct.state in ("related", "invalid", "untracked"):
        return None
    same = [
        each
        for (host, _), each in entries.items()
        if host == seen.point.host and seen.headers.tuple in (each.original, each.reply)
    ]
    return same[-1] if same else None


def told(record: Record) -> list[tuple]:
    """The frame's rows as its journeys tell them."""
    entries = entries_of(record.raw.captures)
    return [
        (
            *(journey.id, journey.flow, journey.direction == "reply", journey.nth, place),
            *(seen.point.host, str(seen.point), seen.time_ns, seen.headers.proto),
            *(seen.headers.src, seen.headers.sport, seen.headers.dst, seen.headers.dport),
            *(seen.headers.ttl, seen.headers.length, seen.headers.seq, seen.headers.ack),
            *((seen.ct.state, seen.ct.direction, seen.ct.id) if seen.ct else (None, None, None)),
            *(seen.point.interface, seen.point.way, seen.point.stage),
            *(seen.headers.icmp[0] * 256 + seen.headers.icmp[1] if seen.headers.icmp else None, seen.headers.icmp_id),
            *(journey.end.kind, journey.complete),
            *next(((c.by, c.rule) for c in journey.rewrites if c.place == place and c.field != "ttl"), (None, None)),
            seen.ct.status if seen.ct else None,
            *(journey.retransmits, journey.duplicates, journey.quotes),
            *(seen.ip_checksum, seen.checksum),
            *((last.mark or 0, last.zone or 0) if (last := entry(entries, seen)) else (None, None)),
        )
        for journey in record.journeys
        for place, seen in enumerate(journey.sightings)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_frame_tells_what_the_journeys_tell(seed: int):
    record = build_record(*any_captures(random.Random(seed)))
    assert record.frame.drop("flags", "ip_id", "vlan").rows() == told(record)


def test_a_frame_answers_questions(lab: NodePort):
    lab.handshake()
    frame = lab.scene.record().frame
    seen = frame.filter(frame["point"] == "B@prerouting.nat")
    assert seen["dst"].to_list() == ["172.26.0.3", "192.168.0.1", "172.26.0.3"]
    assert seen["ct_state"].to_list() == ["new", "established", "established"]


def test_a_frame_tells_an_entrys_last_mark_and_zone_at_hooks_that_its_packets_passed(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for id in (1, 2, 3):
        packet = udp(f"10.0.0.1:{id}", "10.0.0.2:2", b"?", ip_id=id)
        a.sends(packet, "eth0")
        b.gets("eth0", packet, ct=new(id)).delivered()
    for id, told in ((1, {"mark": 7}), (2, {"mark": 0, "zone": 9}), (1, {}), (2, {})):
        packet = udp(f"10.0.0.1:{id}", "10.0.0.2:2")
        b.entry(id, packet, udp("10.0.0.2:2", f"10.0.0.1:{id}"), "confirmed", **told)
    frame = scene.record().frame
    hooks = frame.filter(frame["point"] == "B@input")
    assert hooks.select("ct_id", "ct_mark", "ct_zone").rows() == [(1, 7, 0), (2, 0, 9), (3, None, None)]
    rest = frame.filter(frame["stage"].is_null() | (frame["host"] == "A"))
    assert rest["ct_mark"].null_count() == rest["ct_zone"].null_count() == len(rest) > 0


def test_a_frame_tells_what_rewrote_a_packet_and_what_is_sent_again(lab: NodePort):
    lab.handshake()
    frame = lab.scene.record().frame
    seen = frame.filter(frame["point"] == "B@prerouting.nat")
    assert seen["by"].to_list() == ["rule", "conntrack", "conntrack"]
    assert [rule is not None for rule in seen["rule"]] == [True, False, False]
    assert seen["ct_status"].null_count() == 0
    assert frame["by"].drop_nulls().unique().sort().to_list() == ["conntrack", "rule"]


def test_a_frame_tells_retransmissions_and_errors(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    for number in range(2):
        packet = tcp("10.0.0.1:1", "10.0.0.2:2", seq=5, ip_id=number)
        a.sends(packet, "eth0")
        b.gets("eth0", packet).delivered()
    error = icmp_error("10.0.0.2", "10.0.0.1", 3, packet)
    b.sends(error, "eth0")
    a.gets("eth0", error).delivered()
    frame = scene.record().frame.unique("journey", maintain_order=True)
    assert frame["retransmits"].to_list() == [None, 1, None]
    assert frame["quotes"].to_list() == [None, None, 2]


def test_a_frame_tells_checksums_that_are_wrong(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packet = udp("10.0.0.1:1", "10.0.0.2:2", b"a question")
    frame = packet.frame()
    a.wire("eth0", "out", frame[:-20] + b"\7" + frame[-19:])
    b.wire("eth0", "in", packet)
    record = scene.record()
    assert record.frame["checksum"].to_list() == ["wrong", "right"]
    assert record.frame["ip_checksum"].to_list() == ["right", "right"]
    assert [seen.wrong_checksums for seen in record.sightings] == [("udp",), ()]
    assert b"wrong udp checksum" in b"".join(record.pcapng())


def test_a_frame_tells_ip_ids_and_vlans(scene: Scene):
    a, b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
    packet = udp("10.0.0.1:1", "10.0.0.2:2", b"?", ip_id=77)
    a.wire("eth0", "out", packet.frame(bytes.fromhex("81006005")))
    b.wire("eth0", "in", packet)
    frame = scene.record().frame
    assert frame["ip_id"].to_list() == [77, 77]
    assert frame["vlan"].to_list() == [5, None]


def test_a_parquet_file_reads_back_equal(lab: NodePort, tmp_path):
    import polars as pl

    lab.handshake()
    record = lab.scene.record()
    record.write_parquet(str(tmp_path / "nodeport.parquet"))
    assert pl.read_parquet(tmp_path / "nodeport.parquet").equals(record.frame)
    assert record.frame.height == len(record.sightings)


def test_a_parquet_file_that_cant_be_written_is_refused_as_a_record_is(lab: NodePort, tmp_path):
    lab.handshake()
    for write in (lab.scene.record().write_parquet, lab.scene.record().save):
        with pytest.raises(UsageError, match=r"no/such can't be written: No such file or directory"):
            write(str(tmp_path / "no" / "such"))
        with pytest.raises(UsageError, match=r"can't be written: .*[Ii]s a directory"):
            write(str(tmp_path))


def test_without_polars_a_parquet_file_is_refused_with_what_installs_it(lab: NodePort, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MachineError, match=r"\.venv/bin/pip install -e '\.\[frames\]'"):
        lab.scene.record().write_parquet(str(tmp_path / "none.parquet"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_captured_is_an_empty_frame():
    assert build_record([], {}).frame.height == 0


def test_a_record_put_together_by_hand_has_no_frame():
    with pytest.raises(UsageError, match="by hand"):
        _ = Record().frame
